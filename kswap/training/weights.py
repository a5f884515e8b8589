"""The weights of a model, to be told from others."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


@torch.inference_mode()
def hash_of(model: nn.Module) -> str:
    """SHA-256 over names and values of a model's state."""
    made = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        made.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        made.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return made.hexdigest()
