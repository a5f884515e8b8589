"""The source of a model that was passed as a module, where that is certain."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from torch import nn

from kswap.errors import ModelError
from kswap.sources.builders import build
from kswap.sources.source import DROPOUT_LAYERS, Source


def _drops_of(model: nn.Module) -> dict[str, tuple[str, float]]:
    """Dropout and drop-path layers by name, with their probabilities."""
    drops = {}
    for name, module in model.named_modules():
        kind = type(module).__name__
        if kind in DROPOUT_LAYERS:
            rate = getattr(module, "drop_prob", None) if kind == "DropPath" else getattr(module, "p", None)
            drops[name] = (kind, float(rate or 0.0))
    return drops


def source_of_module(model: nn.Module) -> Source:
    """The timm source of a model that timm built, where that is certain; else one of kind ``"module"``.

    Certain means: built again from the name in its ``pretrained_cfg``, without weights, it has the same
    modules and the same state, once dropout and drop-path are set as they are in ``model``.
    """
    config = getattr(model, "pretrained_cfg", None)
    name = config.get("architecture") if isinstance(config, Mapping) else None
    unknown = Source("module", f"{type(model).__module__}.{type(model).__qualname__}")
    if not isinstance(name, str):
        return unknown
    kwargs: dict[str, Any] = {}
    classes = getattr(model, "num_classes", None)
    if isinstance(classes, int):
        kwargs["num_classes"] = classes
    if getattr(model, "drop_rate", None):
        kwargs["drop_rate"] = model.drop_rate
    try:
        plain = Source("timm", name, kwargs)
        own = _drops_of(build(plain, meta=True))
        drops = {layer: drop for layer, drop in _drops_of(model).items() if own.get(layer) != drop}
        candidate = Source("timm", name, kwargs, drops)
        again = build(candidate, meta=True)
    except ModelError:
        return unknown
    same = repr(again) == repr(model) and structure_hash(again) == structure_hash(model)
    return candidate if same else unknown


def structure_hash(model: nn.Module) -> str:
    """SHA-256 over names, shapes and types of a model's state: the same for the same architecture."""
    lines = [f"{key} {tuple(value.shape)} {value.dtype}" for key, value in sorted(model.state_dict().items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
