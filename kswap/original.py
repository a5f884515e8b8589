"""The model that is converted: built from its name, or the user's own, and what it is called with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from kswap.errors import ModelError
from kswap.sources import Source, input_size_of, parse_source, source_of_module

Inputs = tuple[Any, ...]


def check_model(model: object) -> None:
    """Refuse what is neither a name nor a plain module, and say what to pass instead (:class:`ModelError`)."""
    kind = type(model).__name__
    if isinstance(model, str):
        return
    if not isinstance(model, nn.Module):
        raise ModelError(f"model must be a torch.nn.Module or a name, not a {kind}")
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise ModelError(f"this is a {kind} around a model: pass its .module, and wrap the converted model again")
    if hasattr(model, "_orig_mod"):
        raise ModelError("this model is compiled: pass its ._orig_mod, and compile the converted model again")
    if isinstance(model, torch.jit.ScriptModule):
        raise ModelError(f"this is a TorchScript {kind}: pass the nn.Module that it was made from")


def original_model(
    model: nn.Module | str, kwargs: dict[str, Any], meta: bool = False, pretrained: bool = False
) -> tuple[Source, nn.Module]:
    """The source and the original: a module is given back as it is, a name is built (``meta``: without weights).

    Raises :class:`ModelError`.
    """
    check_model(model)
    if isinstance(model, nn.Module):
        if kwargs or pretrained:
            names = ", ".join([*kwargs, *(["pretrained"] if pretrained else [])])
            raise ModelError(f"{names} can only be given with a model's name, not with a module")
        return source_of_module(model), model
    if Path(model).is_dir():
        from kswap.saving import original_of

        return original_of(model, meta=meta)
    source = parse_source(model, kwargs)
    return source, source.build(pretrained=pretrained, meta=meta)


def inputs_for(
    model: nn.Module,
    source: Source,
    example: Tensor | Inputs | None = None,
    size: tuple[int, ...] | None = None,
) -> Inputs:
    """Positional inputs of one sample each, since counts are for batch 1: the example's, or zeros of a size."""
    if example is not None:
        given = example if isinstance(example, tuple) else (example,)
        return tree_map(lambda x: x[:1] if isinstance(x, Tensor) and x.ndim > 2 else x, given)  # type: ignore[no-any-return]
    own = input_size_of(model, source)
    if size is None:
        return (torch.zeros(1, *own),)
    return (torch.zeros(1, *(size if len(size) == 3 else (own[0], *size))),)


def choose_device(device: str | torch.device | None, model: nn.Module | str | None = None) -> torch.device:
    """The device for ``"auto"``, a name, or (``None``) that of the module. Raises :class:`ModelError`."""
    if device is None:
        tensor = None if isinstance(model, str) or model is None else next(iter(model.parameters()), None)
        return tensor.device if tensor is not None else torch.device("cpu")
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ModelError(f"unknown device '{device}': use auto, cpu or cuda") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ModelError("there is no CUDA device here: use --device cpu, or auto to take a GPU where there is one")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ModelError(f"there is no device {chosen}: this machine has {torch.cuda.device_count()} CUDA devices")
    return chosen
