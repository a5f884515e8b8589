"""The weights of a saved directory: safetensors only, checked before they are read."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_model
from torch import nn

from kswap.errors import SavedError, excerpt, first_line
from kswap.saved.files import WEIGHTS, inside
from kswap.saved.manifest import FloatType
from kswap.sources.state import Differences
from kswap.version import __version__

_MOST_HEADER = 64 * 2**20


def dtype_of(model: nn.Module) -> FloatType | None:
    """The type of all floating parameters; ``None`` where they differ, or where it is none to train in."""
    found = {str(p.dtype).removeprefix("torch.") for p in model.parameters() if p.is_floating_point()}
    known: tuple[FloatType, ...] = get_args(FloatType)
    return next((name for name in known if found == {name}), None)


def save_weights(model: nn.Module, root: Path) -> None:
    """Write the state of ``model``; tied weights are written once. Raises :class:`OSError` and :class:`SavedError`."""
    path = root / WEIGHTS
    try:
        save_model(model, str(path), metadata={"kswap": __version__})
    except SafetensorError as error:
        raise SavedError(f"the weights cannot be written: {first_line(error)}; choose another directory") from error
    path.chmod(0o644)


def hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_weights(root: Path, sha256: str) -> dict[str, torch.Tensor]:
    """The saved tensors by name. Raises :class:`SavedError` for a file that is not the one that was saved."""
    path = inside(root, WEIGHTS)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if path.stat().st_size < 8 + length or length > _MOST_HEADER:
        raise SavedError(f"{path} is damaged or truncated: its header is not whole; copy or convert it again")
    if hash_of(path) != sha256:
        raise SavedError(f"{path} is not the file that was saved: its hash differs; copy or convert it again")
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (SafetensorError, ValueError, KeyError) as error:
        raise SavedError(f"{path} is damaged: {first_line(error)}; copy or convert it again") from error
    return tensors


def load_weights_(model: nn.Module, root: Path, sha256: str) -> None:
    """Copy the saved tensors into ``model``; tied weights are saved once and fill all their names."""
    tensors = read_weights(root, sha256)
    found = Differences.between(model, tensors)
    if found.missing or found.unexpected:
        raise SavedError(
            f"the weights in {root} do not fit its plan: {len(found.missing)} tensors are missing, "
            f"{len(found.unexpected)} are not of this model (first: {excerpt(min(found.missing + found.unexpected))})"
        )
    if found.misfits:
        name = excerpt(found.misfits[0].name)
        raise SavedError(f"the weights in {root} do not fit its plan: {name} has another shape or type")
    model.load_state_dict(tensors, strict=False)
