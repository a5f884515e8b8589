"""Convolutions with a forward pass of their own are sites where they compute the plain convolution."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import kswap


class StaticSamePadding(nn.Conv2d):
    """As in efficientnet_pytorch and segmentation_models_pytorch: at 1x1 the padding is an identity."""

    def __init__(self, *sizes: int, **options: Any) -> None:
        super().__init__(*sizes, **options)
        self.static_padding = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.static_padding(x)
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Wrapper(nn.Conv2d):
    """As in mmcv and detectron2: a norm and an activation of its own, both of which may be missing."""

    def __init__(self, *sizes: int, norm: nn.Module | None = None, scale: float | None = None, **options: Any) -> None:
        super().__init__(*sizes, **options)
        self.norm = norm
        self.scale = None if scale is None else nn.Parameter(torch.tensor(scale))

    def forward(self, x: Tensor) -> Tensor:
        if x.numel() == 0:
            return x
        x = super().forward(x)
        if self.scale is not None:
            x = x * self.scale
        return x if self.norm is None else self.norm(x)


class OwnLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


def network(layer: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 64, 3), layer, nn.BatchNorm2d(48), nn.ReLU(), nn.Conv2d(48, 5, 3))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", [StaticSamePadding, Wrapper])
def test_a_subclass_that_computes_the_plain_map_is_a_site(kind: type[nn.Conv2d], stride: int, bias: bool) -> None:
    layer = kind(64, 48, 1, stride=stride, bias=bias)
    conversion = kswap.convert(network(layer), ch=8, input_size=(13, 12), seed=0)
    (site,) = conversion.plan.replaced
    assert site.site.type == kind.__name__
    assert site.absorbs_norm
    assert site.absorbs_activation
    assert type(conversion.model[1].k.first) is nn.Conv2d
    x = torch.randn(2, 3, 13, 12)
    assert conversion.model(x).shape == network(layer)(x).shape
    again = kswap.convert(network(layer), plan=conversion.plan)
    assert repr(again.model) == repr(conversion.model)


@pytest.mark.parametrize(
    "layer",
    [
        Wrapper(64, 48, 1, scale=1.0),  # changes nothing today, and is a parameter
        Wrapper(64, 48, 1, norm=nn.BatchNorm2d(48)),
        Wrapper(64, 48, 1, norm=nn.Dropout(0.5)),  # does nothing in eval mode
    ],
    ids=["scale", "norm", "dropout"],
)
def test_a_subclass_that_computes_more_is_kept(layer: nn.Module) -> None:
    with pytest.raises(kswap.KswapError, match="Wrapper computes its output in its own way"):
        kswap.plan(network(layer), ch=8, input_size=(12, 12))


def test_a_linear_subclass_that_computes_the_plain_map_is_a_site() -> None:
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), OwnLinear(64, 48), nn.ReLU(), nn.Linear(48, 5))
    plan = kswap.plan(model, ch=8, linear=True, example_input=torch.zeros(2, 7, 8))
    assert [site.site.type for site in plan.replaced] == ["OwnLinear"]
