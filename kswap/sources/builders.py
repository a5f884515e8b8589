"""A source becomes a model: one builder for each kind of source."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kswap.errors import ModelError, excerpt, first_line, nearest
from kswap.sources.offline import is_offline, quick_when_offline
from kswap.sources.source import CONVERTED, Source
from kswap.zoo import builder


def build(source: Source, pretrained: bool = False, meta: bool = False) -> nn.Module:
    """Build the model, in training mode, on the CPU, or without weights on the meta device.

    Raises :class:`ModelError` when it cannot be found or built.
    """
    make = _BUILDERS.get(source.kind)
    if make is None:
        raise ModelError(f"a {source.name} that was passed as a module cannot be built again by name")
    model = _built_on_meta(make, source) if meta else make(source, pretrained)
    for name, (layer, rate) in source.drops.items():
        _set_drop(model, name, layer, rate)
    return model


def _built_on_meta(builder: Callable[[Source, bool], nn.Module], source: Source) -> nn.Module:
    """A model on the meta device. Where its builder computes with tensors (torchvision's RegNet), it is built
    with its weights first."""
    try:
        with torch.device("meta"):
            return builder(source, False)
    except ModelError:
        return builder(source, False).to("meta")


def _call(build: Callable[[], Any], title: str, pretrained: bool) -> nn.Module:
    """Run a builder; whatever it raises becomes one sentence."""
    try:
        with quick_when_offline() if pretrained else contextlib.nullcontext():
            model = build()
    except ModelError:
        raise
    except Exception as error:
        if (pretrained or ":" in title) and is_offline(error):
            raise ModelError(
                f"{title} cannot be fetched without a connection: "
                f"go online, or leave out --pretrained to start from fresh weights"
            ) from error
        if pretrained and "pretrained weights" in str(error).lower():
            raise ModelError(f"{title} has no pretrained weights: leave out --pretrained, or choose a tag") from error
        raise ModelError(f"{title} cannot be built: {type(error).__name__}: {first_line(error)}") from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"{title} returned a {type(model).__name__}, not a torch.nn.Module")
    return model


def _build_timm(source: Source, pretrained: bool) -> nn.Module:
    import timm

    name = source.name
    if ":" not in name:
        bare, _, tag = name.partition(".")
        if bare.startswith(CONVERTED):
            raise ModelError(
                f"{excerpt(name)} is what kswap registers with timm, converted already: "
                f"name the original, {excerpt(bare.removeprefix(CONVERTED))}, and say how to convert it"
            )
        if not timm.is_model(bare):
            hint = (
                nearest(bare, timm.list_models(exclude_filters=f"{CONVERTED}*"))
                or "; `kswap models` lists those of timm"
            )
            path = " (there is no such directory either)" if "/" in name else ""
            raise ModelError(f"unknown model '{excerpt(name)}'{path}{hint}")
        tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{bare}.*")]
        if tag and tag not in tags:
            raise ModelError(
                f"{bare} has no pretrained tag '{excerpt(tag)}'{nearest(tag, tags) or f': known are {tags}'}"
            )
    return _call(lambda: timm.create_model(name, pretrained=pretrained, **source.kwargs), name, pretrained)


def _build_torchvision(source: Source, pretrained: bool) -> nn.Module:
    try:
        from torchvision import models
    except ImportError as error:
        raise ModelError("torchvision is not installed: `pip install torchvision`") from error

    known = models.list_models()
    if source.name not in known:
        hint = nearest(source.name, known) or "; torchvision.models.list_models() lists its models"
        raise ModelError(f"unknown model 'torchvision/{excerpt(source.name)}'{hint}")
    kwargs = dict(source.kwargs)
    builder = models.get_model_builder(source.name)
    if "weights_backbone" in inspect.signature(builder).parameters:
        kwargs.setdefault("weights_backbone", None)
    weights = "DEFAULT" if pretrained else None
    return _call(lambda: models.get_model(source.name, weights=weights, **kwargs), source.title, pretrained)


def _build_papers(source: Source, pretrained: bool) -> nn.Module:
    return _call_factory(builder(source.name), source, pretrained)


def _factory_of(module: Any, name: str, title: str) -> Callable[..., Any]:
    factory = getattr(module, name, None)
    if not callable(factory):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ModelError(f"{title} has no factory '{name}'{nearest(name, known)}")
    return factory  # type: ignore[no-any-return]


def _call_factory(factory: Callable[..., Any], source: Source, pretrained: bool) -> nn.Module:
    kwargs = dict(source.kwargs)
    parameters = inspect.signature(factory).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    unknown = [key for key in kwargs if key not in parameters and not takes_any]
    if unknown:
        raise ModelError(f"{source.title} does not take {', '.join(unknown)}: leave it out")
    if pretrained:
        if "pretrained" not in parameters and not takes_any:
            raise ModelError(f"{source.title} does not take pretrained: leave out --pretrained")
        kwargs["pretrained"] = True
    return _call(lambda: factory(**kwargs), source.title, pretrained)


def _build_import(source: Source, pretrained: bool) -> nn.Module:
    module_name, _, factory_name = source.name.rpartition(":")
    with _current_directory_importable():
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            raise ModelError(f"'{excerpt(source.name)}' cannot be imported: {first_line(error)}") from error
        except Exception as error:
            raise ModelError(
                f"importing {excerpt(module_name)} failed: {type(error).__name__}: {first_line(error)}"
            ) from error
        return _call_factory(_factory_of(module, factory_name, module_name), source, pretrained)


@contextlib.contextmanager
def _current_directory_importable() -> Iterator[None]:
    """Inside, modules of the current directory can be imported; a module that is installed wins over one there."""
    own = str(Path.cwd())
    if own in sys.path:
        yield
        return
    sys.path.append(own)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(own)


def _build_file(source: Source, pretrained: bool) -> nn.Module:
    path_text, _, factory_name = source.name.rpartition(":")
    path = Path(path_text).expanduser()
    if not os.path.isfile(path):
        raise ModelError(f"there is no file {excerpt(path, 200)}")
    name = f"kswap_source_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ModelError(f"{path} cannot be imported: {type(error).__name__}: {first_line(error)}") from error
    return _call_factory(_factory_of(module, factory_name, str(path)), source, pretrained)


_BUILDERS: dict[str, Callable[[Source, bool], nn.Module]] = {
    "timm": _build_timm,
    "torchvision": _build_torchvision,
    "papers": _build_papers,
    "import": _build_import,
    "file": _build_file,
}


def _set_drop(model: nn.Module, name: str, kind: str, rate: float) -> None:
    from timm.layers import DropPath

    made: nn.Module = DropPath(rate) if kind == "DropPath" else getattr(nn, kind)(rate)
    try:
        model.get_submodule(name)
    except AttributeError:
        raise ModelError(f"the model has no module '{excerpt(name)}' to be a {kind}") from None
    model.set_submodule(name, made)
