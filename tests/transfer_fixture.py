"""A small teacher, what was converted from it, and pictures without labels."""

from __future__ import annotations

import functools
from pathlib import Path

import timm
import torch
from pictures_fixture import noise
from torch import nn

import kswap
from kswap.converted import Conversion
from kswap.transfer.recipe import Recipe

# Steps take a millisecond or two, and every one of them counts.
QUICK = Recipe(batch=4, lr=3e-3, evaluations=2, norms="frozen")


def teacher() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return timm.create_model("test_resnet", num_classes=3).eval()


@functools.cache
def student() -> Conversion:
    """The same one for all tests: distillation works on a copy."""
    return kswap.convert(teacher(), ch=8, input_size=(32, 32), seed=1)


def unlabelled(folder: Path, count: int = 10) -> Path:
    folder.mkdir()
    for number in range(count):
        noise(number, (40, 36)).save(folder / f"{number}.png")
    return folder


def weights_of(conversion: Conversion) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in conversion.model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two states agree to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
