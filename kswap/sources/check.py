"""Whether something is a model that kswap takes."""

from __future__ import annotations

import torch
from torch import nn

from kswap.errors import ModelError


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
