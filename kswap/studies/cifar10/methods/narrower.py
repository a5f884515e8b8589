"""The same network with fewer channels everywhere: timm's width multiplier."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from timm.models import efficientnet
from torch import nn

from kswap.errors import StudyError
from kswap.graph.random_state import preserved_random_state
from kswap.studies.cifar10.forms import matched
from kswap.studies.cifar10.network import Method, Network
from kswap.studies.cifar10.settings import Settings
from kswap.training.baseline import unconverted

# The functions of timm that take a width multiplier, by how the names of their networks begin.
_FAMILIES = {
    "efficientnet_b": efficientnet._gen_efficientnet,
    "tf_efficientnet_b": partial(efficientnet._gen_efficientnet, pad_type="same", bn_eps=1e-3),
    "efficientnet_lite": efficientnet._gen_efficientnet_lite,
    "mobilenetv1": efficientnet._gen_mobilenet_v1,
    "mobilenetv2": efficientnet._gen_mobilenet_v2,
    "test_efficientnet": efficientnet._gen_test_efficientnet,
}
_WIDTHS = tuple(number / 200 for number in range(10, 201))


def _narrowed(settings: Settings, width: float) -> nn.Module:
    name = settings.narrowed
    make: Any = next((make for begin, make in _FAMILIES.items() if name.startswith(begin)), None)
    if make is None:
        raise StudyError(
            f"kswap knows no width multiplier for '{name}': known are {', '.join(f'{begin}...' for begin in _FAMILIES)}"
        )
    made: nn.Module = make(name, channel_multiplier=width, num_classes=settings.num_classes)
    return made


def _params(settings: Settings, width: float) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in _narrowed(settings, width).parameters())


def _build(settings: Settings, seed: int) -> Network:
    width, difference = matched(settings, _WIDTHS, lambda width: _params(settings, width), "narrower network")
    with preserved_random_state(seed):
        model = _narrowed(settings, width)
    made = unconverted(model, input_size=settings.input_size, skip_strides=settings.skip_strides, device="cpu")
    return Network(made, f"width {width:g}, {difference}")


METHOD = Method("narrower", "narrower", _build)
