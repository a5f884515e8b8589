"""The weights of a saved directory: safetensors only, checked before they are read."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from kswap.errors import SavedError
from kswap.saved.files import WEIGHTS, inside

_MOST_HEADER = 64 * 2**20


def dtype_of(model: nn.Module) -> str | None:
    kinds = {p.dtype for p in model.parameters() if p.is_floating_point()}
    return str(kinds.pop()).removeprefix("torch.") if len(kinds) == 1 else None


def hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_weights(root: Path, sha256: str) -> dict[str, torch.Tensor]:
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
        raise SavedError(f"{path} is damaged: {error}; copy or convert it again") from error
    return tensors


def load_weights_(model: nn.Module, root: Path, sha256: str) -> None:
    """Copy the saved tensors into ``model``; tied weights are saved once and fill all their names."""
    tensors = read_weights(root, sha256)
    state = model.state_dict()
    filled = {state[name].untyped_storage().data_ptr() for name in set(tensors) & set(state)}
    missing = {name for name in set(state) - set(tensors) if state[name].untyped_storage().data_ptr() not in filled}
    unexpected = set(tensors) - set(state)
    if missing or unexpected:
        raise SavedError(
            f"the weights in {root} do not fit its plan: {len(missing)} tensors are missing, "
            f"{len(unexpected)} are not of this model (first: {sorted(missing | unexpected)[0]})"
        )
    wrong = [name for name, tensor in tensors.items() if tensor.shape != state[name].shape]
    if wrong:
        raise SavedError(f"the weights in {root} do not fit its plan: {wrong[0]} has another shape")
    model.load_state_dict(tensors, strict=False)
