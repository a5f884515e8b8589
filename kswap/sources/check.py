"""Whether something is a model that kswap takes."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from kswap.errors import ModelError, wording
from kswap.nn.block import PointwiseBlock
from kswap.sources.source import Source


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


def check_original(model: object) -> None:
    """Refuse what :func:`check_model` refuses, and modules that cannot be converted (:class:`ModelError`)."""
    check_model(model)
    if isinstance(model, nn.Module):
        for name, module in model.named_modules():
            _check_part(name, module)


def check_trained(source: Source) -> None:
    """Refuse a named model that its builder has just given fresh weights (:class:`ModelError`).

    A factory of the user's own may have loaded weights by itself.
    """
    if source.kind not in ("import", "file", "module"):
        hint = wording("pass pretrained=True or weights=FILE", "add --pretrained or --weights FILE")
        raise ModelError(
            f"{source.title} is built with fresh weights, and has no trained weights to carry over: {hint}"
        )


def _check_part(name: str, module: nn.Module) -> None:
    kind = type(module).__name__
    if isinstance(module, PointwiseBlock):
        raise ModelError(
            f"this model is converted already ('{name}' is a {kind}): convert the original again, with rules for all "
            "that is to be replaced"
        )
    if isinstance(module, torch.jit.ScriptModule):
        raise ModelError(
            f"'{name}' is TorchScript, which cannot be followed: put the nn.Module there, and script the result"
        )
    if isinstance(module, LazyModuleMixin) and module.has_uninitialized_params():
        raise ModelError(f"'{name}' is a {kind} without weights: run the model once, then convert it")
