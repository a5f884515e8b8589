"""A walk shows each module's inputs in both networks, however much of them it may keep."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import timm
import torch
from torch import Tensor, nn

from kswap.graph.call import Call
from kswap.graph.observe import observe
from kswap.projection.walk import GraphWalk, Walk, WholeWalk, walk_of

SIZE = 32


def inputs_in_place(model: nn.Module, name: str, batch: Tensor) -> Tensor:
    """What the module ``name`` reads in a plain forward pass."""
    found: list[Tensor] = []
    handle = model.get_submodule(name).register_forward_pre_hook(lambda _, args: found.append(args[0].clone()))
    with torch.no_grad():
        model(batch)
    handle.remove()
    return torch.cat(found)


def networks() -> tuple[nn.Module, nn.Module, list[Call]]:
    torch.manual_seed(0)
    original = timm.create_model("test_efficientnet", num_classes=5).eval()
    converted = copy.deepcopy(original)
    return original, converted, [Call((torch.randn(2, 3, SIZE, SIZE),)) for _ in range(3)]


def pointwise_names(model: nn.Module, calls: dict[str, int]) -> list[str]:
    return [n for n in calls if isinstance(m := model.get_submodule(n), nn.Conv2d) and m.kernel_size == (1, 1)]


def calls_of(model: nn.Module, call: Call) -> dict[str, int]:
    return {name: record.calls for name, record in observe(model, call).records.items()}


def check(walk: Walk, original: nn.Module, converted: nn.Module, batches: Sequence[Call], names: list[str]) -> None:
    for name in names:
        seen = list(walk.inputs_of(name))
        for model, of in ((converted, "converted"), (original, "original")):
            expected = torch.cat([inputs_in_place(model, name, call.args[0]) for call in batches])
            torch.testing.assert_close(torch.cat([getattr(one, of) for one in seen]), expected)
        # What is changed here shows in everything after it.
        converted.get_submodule(name).weight.data.mul_(1.5)


@pytest.mark.parametrize("most_kept", [2**30, 40_000, 0])
def test_every_module_sees_what_a_plain_run_shows(most_kept: int) -> None:
    original, converted, batches = networks()
    calls = calls_of(original, batches[0])
    names = pointwise_names(original, calls)
    assert len(names) > 8
    walk = walk_of(original, converted, batches, names, calls, most_kept)
    assert isinstance(walk, GraphWalk)
    check(walk, original, converted, batches, names)


def test_a_network_without_a_graph_is_run_from_its_inputs() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return self.second(x) if x.sum() > -1e9 else x

    original = Branching().eval()
    converted = copy.deepcopy(original)
    batches = [Call((torch.randn(2, 3, 4, 4),)) for _ in range(2)]
    walk = walk_of(original, converted, batches, ["first", "second"], {"first": 1, "second": 1})
    assert isinstance(walk, WholeWalk)
    check(walk, original, converted, batches, ["first", "second"])


def test_all_calls_of_a_shared_module_are_seen() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(self.layer(x).relu())

    original = Shared().eval()
    batches = [Call((torch.randn(2, 4, 3, 3),)), Call((torch.randn(1, 4, 3, 3),))]
    walk = walk_of(original, copy.deepcopy(original), batches, ["layer"], {"layer": 2})
    seen = list(walk.inputs_of("layer"))
    assert [len(one.original) for one in seen] == [2, 2, 1, 1]
    torch.testing.assert_close(seen[1].original, original.layer(seen[0].original).relu())


def test_operators_that_work_in_place_do_not_reach_the_batches() -> None:
    original = nn.Sequential(nn.SiLU(inplace=True), nn.Conv2d(3, 4, 1), nn.SiLU(inplace=True), nn.Conv2d(4, 4, 1))
    batches = [Call((torch.randn(2, 3, 4, 4),))]
    before = batches[0].args[0].clone()
    converted = copy.deepcopy(original)
    for most_kept in (2**30, 0):
        walk = walk_of(original, converted, batches, ["1", "3"], {"1": 1, "3": 1}, most_kept)
        for name in ("1", "3"):
            first = next(iter(list(walk.inputs_of(name))))
            torch.testing.assert_close(first.original, inputs_in_place(original, name, before.clone()))
    assert torch.equal(batches[0].args[0], before)


@pytest.mark.parametrize("most_kept", [2**30, 0])
def test_outputs_follow_from_what_changed_after_the_last_stop(most_kept: int) -> None:
    original, converted, batches = networks()
    calls = calls_of(original, batches[0])
    names = pointwise_names(original, calls)
    walk = walk_of(original, converted, batches, names, calls, most_kept)
    assert isinstance(walk, GraphWalk)
    whole = WholeWalk(original, converted, batches, calls)
    for name in names[::3]:
        list(walk.inputs_of(name))
        with torch.no_grad():
            converted.get_submodule(name).weight.mul_(0.5)
            for found, other, call in zip(walk.outputs(), whole.outputs(), batches, strict=True):
                torch.testing.assert_close(found, call.on(converted))
                torch.testing.assert_close(other, call.on(converted))
