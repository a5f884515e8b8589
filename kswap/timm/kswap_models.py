"""Registers every timm model that kswap converts with timm; importing this file does it.

timm lists the models of a file under the file's name: ``timm.list_models(module="kswap_models")``.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import timm
from timm.models import PretrainedCfg, generate_default_cfgs, get_pretrained_cfg, register_model
from torch import nn

from kswap.conversion import create_model
from kswap.errors import ModelError
from kswap.model_table.table import read_table
from kswap.sources.source import CONVERTED
from kswap.timm.names import LISTED, Variant

# timm's register_model adds the names of the models, and reads default_cfgs.
__all__: list[str] = []

# Frames from a warning here to the caller of timm.create_model.
_TO_CREATE_MODEL = 4
_NO_WEIGHTS = {"url": None, "file": None, "state_dict": None, "hf_hub_id": None, "custom_load": False}


def _originals() -> list[str]:
    """The models of the installed timm that have pointwise convolutions."""
    return [name for name, row in read_table().items() if row.pointwise_convolutions and timm.is_model(name)]


def _config_of(original: str) -> PretrainedCfg:
    """How the original's inputs are prepared; its weights are those of another architecture."""
    config = get_pretrained_cfg(original) or PretrainedCfg()
    return dataclasses.replace(config, architecture=CONVERTED + original, tag=None, **_NO_WEIGHTS)


def _configs_of(original: str) -> dict[str, PretrainedCfg]:
    """The configurations by name: first that of the name without a tag."""
    config = _config_of(original)
    return {CONVERTED + original: config} | {f"{CONVERTED}{original}.{variant.tag}": config for variant in LISTED}


def _entrypoint(original: str) -> Callable[..., nn.Module]:
    def create(pretrained: bool = False, pretrained_cfg: Any = None, **kwargs: Any) -> nn.Module:
        return _create(original, pretrained, pretrained_cfg, kwargs)

    create.__name__ = create.__qualname__ = CONVERTED + original
    create.__doc__ = f"{original} after its pointwise convolutions were replaced; see :mod:`kswap.timm`."
    return create


def _create(original: str, pretrained: bool, config: Any, kwargs: dict[str, Any]) -> nn.Module:
    name = CONVERTED + original
    kwargs = {key: value for key, value in kwargs.items() if value is not None}
    tag = config
    if isinstance(config, PretrainedCfg | Mapping):
        given = dataclasses.asdict(config) if isinstance(config, PretrainedCfg) else dict(config)
        tag = given.get("tag") if given.get("architecture") == name else None
        kwargs |= _configuration(name, given, kwargs)
    variant = Variant.of_tag(tag) if tag else None
    if variant is not None:
        for key, value in dataclasses.asdict(variant).items():
            if kwargs.setdefault(key, value) != value:
                raise ModelError(f"{name}.{tag} and {key}={kwargs[key]} contradict each other: leave one out")
    elif tag:  # one of timm's: which weights of the original
        original = f"{original}.{tag}"
    model = create_model(original, pretrained=pretrained, **kwargs)
    if pretrained:
        warnings.warn(_kept_weights(name, model), stacklevel=_TO_CREATE_MODEL)
    return model


def _configuration(name: str, given: dict[str, Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that give the original a configuration which timm, or the caller, has resolved before.

    Of one that began as ours, only what was changed in it; the rest is the original's own.
    """
    if given.get("architecture") != name:
        return {"pretrained_cfg": given}
    ours = dataclasses.asdict(_config_of(name.removeprefix(CONVERTED)))
    changed = {k: v for k, v in given.items() if k not in ("architecture", "tag") and v != ours.get(k)}
    overlay = changed | dict(kwargs.get("pretrained_cfg_overlay", {}))
    return {"pretrained_cfg_overlay": overlay} if overlay else {}


def _kept_weights(name: str, model: nn.Module) -> str:
    config = getattr(model, "pretrained_cfg", None) or {}
    weights = ".".join(filter(None, (config.get("architecture"), config.get("tag"))))
    return (
        f"{name}: the layers that stay have the weights of {weights}, and the new blocks have fresh ones; "
        "`kswap convert --init project` fits them to the layers that they replace"
    )


def _register() -> None:
    for name in _originals():
        create = _entrypoint(name)
        globals()[create.__name__] = create
        register_model(create)


default_cfgs = generate_default_cfgs({k: v for name in _originals() for k, v in _configs_of(name).items()})
_register()
