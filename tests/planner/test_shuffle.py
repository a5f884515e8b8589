"""The scheme that interleaves as ShuffleNet does."""

from __future__ import annotations

import pytest
import torch

import kswap
from kswap.budgets.options import options_of
from kswap.nn import GroupedBlock
from kswap.planner import interleave_order, plan_layer
from kswap.planner.sites import Site


@pytest.mark.parametrize(("ic", "f"), [(64, 48), (1152, 192), (96, 96)])
def test_the_interleave_is_the_channel_shuffle(ic: int, f: int) -> None:
    plan = plan_layer(ic, f, 16, "shuffle")
    assert plan.k is not None
    assert plan.interleave_step is not None
    if plan.k.extra_groups:  # the shuffle of ShuffleNet knows no second path
        return
    shuffled = torch.nn.functional.channel_shuffle(torch.arange(f).view(1, f, 1, 1), plan.k.groups).flatten()
    assert interleave_order(f, plan.interleave_step) == shuffled.tolist()


def test_layers_and_weights_are_those_of_v2() -> None:
    for ic, f in [(64, 48), (1152, 320), (24, 144), (96, 4), (14, 10)]:
        shuffled, v2 = plan_layer(ic, f, 4, "shuffle"), plan_layer(ic, f, 4)
        assert (shuffled.k, shuffled.l, shuffled.weights) == (v2.k, v2.l, v2.weights)
    assert plan_layer(1152, 320, 16, "shuffle").interleave_step == 4
    assert plan_layer(24, 144, 16, "shuffle").interleave_step is None  # nothing follows K
    assert plan_layer(20, 16, 16, "shuffle").k is None


def test_the_scheme_brings_its_preset_and_can_be_saved_and_replayed() -> None:
    planned = kswap.plan("test_efficientnet", ch=8, scheme="shuffle")
    layers = [site.layer for site in planned.replaced if site.layer.shape_to_json()["l"]]
    assert layers
    assert all(layer.shape_to_json()["scheme"] == "shuffle" and not layer.sum for layer in layers)
    replayed = kswap.convert("test_efficientnet", plan=planned, device="cpu", seed=0)
    assert replayed.plan.to_json()["sites"] == planned.to_json()["sites"]
    steps = {block.interleave.step for block in replayed.model.modules() if isinstance(block, GroupedBlock) and block.l
             and block.interleave}  # fmt: skip
    assert steps == {layer.interleave_step for layer in layers if layer.interleave_step}


def test_budgets_do_not_choose_it() -> None:
    assert {layer.shape_to_json()["scheme"] for layer in options_of(Site("conv", 192, 96))} == {"v1", "v2"}
