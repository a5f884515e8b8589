"""kEffNet has no activation after its top convolution, whether that one is replaced or kept."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import kswap
from kswap.errors import ModelError
from kswap.papers.recipes import Variant, recipe
from kswap.planner.counting import count_plan

KEFFNET = recipe("kefficientnet-b0")
# Swish of the top convolution at 224x224: 7x7 positions of 1280 channels, half a computation each.
SWISH = 49 * 1280 // 2


@pytest.mark.parametrize(("side", "skips", "computations"), [(224, -1, 389_937_738), (32, 3, 407_116_194)])
def test_the_unconverted_network_of_the_recipe(side: int, skips: int, computations: int) -> None:
    """The authors' kType0 rows: their kEffNet with every convolution dense."""
    plan = Variant(KEFFNET, ch=16, num_classes=10, input_size=(side, side), skip_stride_cnt=skips).plan()
    assert plan.before.operations // 2 == computations
    assert plan.before.trainable_params == 4_020_358
    assert any("top_activation=identity" in note for note in plan.notes)


@pytest.mark.parametrize(("scheme", "ch"), [("v1", 161), ("v2", 320)])
def test_a_kept_top_convolution_has_no_activation_either(scheme: str, ch: int) -> None:
    plan = Variant(KEFFNET, scheme, ch, num_classes=10).plan()
    assert not plan["head_conv"].replaced
    with_activation = kswap.plan("papers/efficientnet_b0", ch=ch, scheme=scheme, num_classes=10)
    assert count_plan(plan).operations // 2 == count_plan(with_activation).operations // 2 - SWISH


def test_the_features_of_the_built_network_are_those_of_the_norm() -> None:
    model = Variant(KEFFNET, "v2", 320, num_classes=3, input_size=(64, 64)).convert(seed=0).model.eval()
    outputs: list[torch.Tensor] = []
    norm = model.get_submodule("head_norm")
    assert isinstance(norm, nn.BatchNorm2d)
    norm.register_forward_hook(lambda _module, _args, out: outputs.append(out))
    with torch.no_grad():
        features = model.forward_features(torch.rand(1, 3, 64, 64))  # type: ignore[operator]
    assert torch.equal(features, outputs[0])
    assert features.min() < -1e-6


def test_an_unknown_activation_is_named() -> None:
    with pytest.raises(ModelError, match="unknown activation 'swich'"):
        kswap.plan("papers/efficientnet_b0", top_activation="swich")
