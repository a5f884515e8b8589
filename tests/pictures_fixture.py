"""Pictures that the tests make themselves, and a network that tells left from right."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

CLASSES = ("blue", "green", "red")


def noise(seed: int, size: tuple[int, int] = (16, 16)) -> Image.Image:
    """A picture of random pixels, ``size`` is (width, height)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def png(made: Image.Image) -> bytes:
    buffer = io.BytesIO()
    made.save(buffer, format="PNG")
    return buffer.getvalue()


def zipped(path: Path, members: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


class Flat(nn.Module):
    """A linear layer on all pixels of a 16x16 picture: the mirrored picture is another one to it."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.9)
        self.linear = nn.Linear(3 * 16 * 16, classes)
        generator = torch.Generator().manual_seed(0)
        self.linear.weight.data = torch.randn(self.linear.weight.shape, generator=generator) / 4

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.dropout(x.flatten(1)))
