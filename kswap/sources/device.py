"""The device that a model goes to."""

from __future__ import annotations

import torch
from torch import nn

from kswap.errors import ModelError
from kswap.graph.device import device_of


def choose_device(device: str | torch.device | None, model: nn.Module | str | None = None) -> torch.device:
    """The device for ``"auto"``, a name, or (``None``) that of the module. Raises :class:`ModelError`."""
    if device is None:
        return device_of(model) if isinstance(model, nn.Module) else torch.device("cpu")
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ModelError(f"unknown device '{device}': use auto, cpu or cuda") from None
    if chosen.type == "meta":
        raise ModelError(
            "a model on the meta device has no weights: use --dry-run (kswap.plan), or pass a module that is there"
        )
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ModelError("there is no CUDA device here: use --device cpu, or auto to take a GPU where there is one")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ModelError(f"there is no device {chosen}: this machine has {torch.cuda.device_count()} CUDA devices")
    return chosen
