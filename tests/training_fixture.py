"""Pictures of three classes that a small network tells apart after a few steps, and the network."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from pictures_fixture import noise

import kswap
from kswap.converted import Conversion
from kswap.training.record import Training

# Steps take a millisecond or two, and every one of them counts.
QUICK: dict[str, Any] = {
    "epochs": 2,
    "batch": 6,
    "lr": 0.05,
    "optimizer_options": {"momentum": 0.9},
    "augment": {"padding": 2, "flip": "alternate"},
    "keep": "last",
    "held_out": 0,
}


@functools.cache
def network() -> Conversion:
    """The same one for all tests: training works on a copy."""
    return kswap.convert("test_resnet", ch=8, num_classes=3, device="cpu", input_size=(32, 32), seed=1)


def classes(folder: Path, **counts: int) -> Path:
    """``folder/SPLIT/CLASS/FILE``, noise that is brighter from class to class."""
    for number, (split, count) in enumerate(counts.items()):
        for label, name in enumerate("abc"):
            (folder / split / name).mkdir(parents=True)
            for one in range(count):
                picture = noise(1000 * number + 100 * label + one, (32, 32))
                picture.point(lambda value, add=60 * label: value // 2 + add).save(folder / split / name / f"{one}.png")
    return folder


def trained(data: Path, **arguments: Any) -> Training:
    return kswap.train(network(), data, **{"recipe": QUICK, "progress": False, **arguments})


def weights_of(training: Training) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in training.conversion.model.state_dict().items()}
