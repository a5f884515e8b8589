"""Orders of assigned blocks folded into their neighbours: the same outputs, without the orders."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import kswap
from kswap.inference.fold_norms import fold_norms_
from kswap.inference.optimize import optimize_for_inference
from kswap.inference.record import optimization_of
from kswap.inference.selection import FoldedModel
from kswap.inference.store import optimize_directory
from kswap.nn.channel_order import ChannelOrder
from kswap.planner.kinds.assigned import AssignedPlan

EXPANSIONS = {
    "rule": [
        {"match": {"role": "expansion"}, "kind": "assigned"},
        {"match": {"role": "projection"}, "placement": "linear"},
    ]
}
EVERYTHING = {"kind": "assigned"}


def shuffled(plan: AssignedPlan, seed: int) -> AssignedPlan:
    rng = random.Random(seed)
    names = rng.sample(range(plan.in_channels), plan.in_channels)
    reads = tuple(names[channel] for channel in plan.read_order())
    return replace(plan, reads=reads, writes=tuple(rng.sample(range(plan.out_channels), plan.out_channels)))


def with_orders(model: Any, rules: dict[str, Any], **options: Any) -> nn.Module:
    """A converted model in float64 whose assigned blocks have orders, and whose norms do something."""
    options = {"ch": 8, "rules": rules, "input_size": (32, 32), **options}
    plan = kswap.plan(model, **options)
    sites = [
        replace(s, layer=shuffled(s.layer, n)) if s.replaced and s.layer.kind == "assigned" else s
        for n, s in enumerate(plan.sites)
    ]
    made = kswap.convert(model, plan=replace(plan, sites=tuple(sites)), device="cpu", seed=0).model.double().eval()
    generator = torch.Generator().manual_seed(0)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                tensor.data.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return made


def chosen(model: nn.Module, grouped: set[str] | None = None) -> dict[str, str]:
    """The grouped form of every assigned block, or of those that are named, and the dense form of all others."""
    return {
        name: str(
            found.implementations[1 if block.plan.kind == "assigned" and (grouped is None or name in grouped) else 0].id
        )
        for (name, found), block in zip(
            FoldedModel.of(model).candidates.items(), FoldedModel.of(model).blocks.values(), strict=True
        )
    }


def orders_of(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, ChannelOrder)]


def check(model: nn.Module, x: torch.Tensor, grouped: set[str] | None = None) -> nn.Module:
    quick = optimize_for_inference(model, x, implementations=chosen(model, grouped))
    with torch.no_grad():
        torch.testing.assert_close(quick(x), model(x), rtol=1e-10, atol=1e-10)
    assert not optimization_of(quick).norms_kept
    return quick


def test_expansions_lose_the_order_of_their_outputs() -> None:
    """Through norm, depthwise convolution and squeeze-excite gate into a dense projection."""
    model = with_orders("test_efficientnet", EXPANSIONS)
    x = torch.randn(2, 3, 32, 32).double()
    quick = check(model, x)
    reads = {"blocks.3.0.conv_pw.layers.0", "blocks.4.0.conv_pw.layers.0", "conv_head.layers.0"}
    assert set(orders_of(quick)) == {*reads, "conv_head.layers.2"}  # pooled and flattened before it is read


def test_projections_lose_the_order_of_their_inputs_where_the_expansion_is_dense() -> None:
    model = with_orders("test_efficientnet", EVERYTHING)
    x = torch.randn(2, 3, 32, 32).double()
    name = "blocks.4.0.conv_pwl"
    quick = check(model, x, {name})
    assert orders_of(quick) == [f"{name}.layers.2"] or orders_of(quick) == [f"{name}.layers.1"]


def test_of_two_orders_that_meet_one_is_left() -> None:
    model = with_orders("test_efficientnet", EVERYTHING)
    x = torch.randn(2, 3, 32, 32).double()
    quick = check(model, x)
    left = orders_of(quick)
    for stage in (3, 4):
        pair = [name for name in left if name.startswith(f"blocks.{stage}.0.conv_pw")]
        assert len(pair) == 3  # what the expansion reads, what the projection reads and what it writes


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_byobnet"])
def test_other_networks_compute_the_same(name: str) -> None:
    rules = {**EVERYTHING, "match": ["conv", "linear"]}
    side = 160 if name == "test_vit" else 64
    model = with_orders(name, rules, input_size=(side, side))
    x = torch.randn(1, 3, side, side).double()
    quick = optimize_for_inference(model, x, implementations=chosen(model))
    with torch.no_grad():
        torch.testing.assert_close(quick(x), model(x), rtol=1e-9, atol=1e-9)
    blocks = [block for block in FoldedModel.of(model).blocks.values() if block.plan.kind == "assigned"]
    assert len(orders_of(quick)) < sum((block.reads is not None) + (block.writes is not None) for block in blocks)


def test_a_saved_directory_is_optimised_the_same_way(tmp_path: Path) -> None:
    plan = kswap.plan("test_efficientnet", ch=8, rules=EXPANSIONS, input_size=(32, 32))
    sites = [replace(s, layer=shuffled(s.layer, 0)) if s.name.endswith("conv_pw") else s for s in plan.sites]
    conversion = kswap.convert("test_efficientnet", plan=replace(plan, sites=tuple(sites)), device="cpu", seed=0)
    directory = conversion.save(tmp_path / "m")
    quick = optimize_directory(directory, autotune=False).model
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(quick(x), conversion.model.eval()(x), rtol=1e-4, atol=1e-5)
        assert torch.equal(kswap.load_optimized(directory)(x), quick(x))


def branching(extra: str) -> nn.Module:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 16, 3)
            self.wide = nn.Conv2d(16, 48, 1)
            self.norm = nn.BatchNorm2d(48)
            self.thin = nn.Conv2d(48, 16, 1)
            self.head = nn.Linear(16, 4)
            self.softmax = nn.Softmax2d()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = self.norm(self.wide(self.stem(x))).relu()
            if extra == "sliced":
                hidden = torch.cat([hidden[:, :1] * 2, hidden[:, 1:]], 1)
            if extra == "softmax":
                hidden = self.softmax(hidden)
            if extra == "returned":
                return hidden
            thin = self.thin(hidden)
            if extra == "twice":
                thin = thin + hidden.mean(1, keepdim=True) * hidden[:, :16]
            return self.head(thin.mean((2, 3)))

    torch.manual_seed(0)
    return Branching()


@pytest.mark.parametrize(("extra", "left"), [("", 1), ("sliced", 2), ("softmax", 1), ("returned", 2), ("twice", 2)])
def test_what_sees_channels_by_their_number_keeps_the_order(extra: str, left: int) -> None:
    rules = {"rule": [{"match": {"name": "wide"}, "kind": "assigned"}, {"match": {"name": "thin"}, "keep": True}]}
    model = with_orders(branching(extra), rules, input_size=(8, 8), ch=4)
    x = torch.randn(2, 3, 8, 8).double()
    quick = optimize_for_inference(model, x, implementations=chosen(model))
    with torch.no_grad():
        torch.testing.assert_close(quick(x), model(x), rtol=1e-10, atol=1e-10)
    assert len(orders_of(quick)) in (left, 2)
    assert (len(orders_of(quick)) == 1) == (extra == "")


def test_a_norm_is_folded_past_an_order() -> None:
    """Filters that the order leaves out, which only fill up a group, stay as they are."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(6)
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        tensor.data.uniform_(0.5, 2)
    model = (
        nn.Sequential(nn.Conv2d(4, 8, 1, groups=2), ChannelOrder([6, 0, 2, 5, 1, 4]), norm, nn.ReLU()).double().eval()
    )
    folded = copy.deepcopy(model)
    x = torch.randn(2, 4, 3, 3).double()
    assert fold_norms_(folded, (x,)).folded == ("2",)
    with torch.no_grad():
        torch.testing.assert_close(folded(x), model(x), rtol=1e-12, atol=1e-12)
    twice = nn.Sequential(nn.Conv2d(4, 4, 1), ChannelOrder([0, 1, 2, 3, 0, 1]), copy.deepcopy(norm)).double().eval()
    assert fold_norms_(twice, (x,)).folded == ()
