"""Every kind of block that can be planned can be optimised, for inference and for training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import kswap
from kswap.inference.kinds import candidates_of
from kswap.inference.optimize import optimize_for_inference
from kswap.inference.record import optimization_of
from kswap.inference.store import optimize_directory
from kswap.nn import PointwiseBlock, build_block
from kswap.nn.implementation import Implementation
from kswap.planner import BlockSettings, plan_block
from kswap.planner.kinds import BLOCK_KINDS
from kswap.training.kinds import trainable


def implementations(kind: str) -> list[Implementation]:
    block = build_block(plan_block(96, 48, BlockSettings(kind=kind)), replaces=nn.Conv2d(96, 48, 1)).eval()
    return [*candidates_of(block).implementations, trainable(block).estimated]


@pytest.mark.parametrize("kind", sorted(BLOCK_KINDS))
def test_a_kind_has_implementations_of_its_own_name(kind: str) -> None:
    found = implementations(kind)
    assert {one.id.kind for one in found} == {kind}
    assert len({one.id for one in found}) == len(found)
    assert [one.has_backward for one in found] == [False] * (len(found) - 1) + [True]
    assert found[0].id.is_dense
    assert found[0].cost.macs == 96 * 48
    assert all(one.build()(torch.zeros(1, 96, 2, 2)).shape == (1, 48, 2, 2) for one in found)


def low_rank(like: nn.Module) -> PointwiseBlock:
    return build_block(plan_block(46, 23, BlockSettings(kind="low-rank", rank=4)), replaces=like)


def assigned(like: nn.Module) -> PointwiseBlock:
    """46 inputs at Ch 8 are 6 groups with 2 channels read twice, and 23 filters need a second path."""
    block = build_block(plan_block(46, 23, BlockSettings(kind="assigned", ch=8)), replaces=like)
    assert (block.plan.k.replicated, block.plan.k.extra_groups) == (2, 5)
    return block


def reordered(like: nn.Module) -> PointwiseBlock:
    block, names = assigned(like), permuted(46, 0)
    block.assign_([names[channel] for channel in block.plan.k.read_order()], permuted(23, 1))
    return block


def permuted(count: int, seed: int) -> list[int]:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()


OF_GROUPS = ["assigned.dense", "assigned.groups(height=4)", "assigned.groups(height=8)"]


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(46, 23, 1, stride=2), (2, 46, 5, 4)),
        (nn.Conv2d(46, 23, 1, bias=False), (2, 46, 5, 4)),
        (nn.Conv1d(46, 23, 1), (2, 46, 7)),
        (nn.Conv3d(46, 23, 1), (2, 46, 3, 2, 2)),
        (nn.Linear(46, 23), (2, 7, 46)),
    ],
    ids=["strided", "no bias", "conv1d", "conv3d", "linear"],
)
@pytest.mark.parametrize(
    ("make", "names"),
    [(low_rank, ["low-rank.dense", "low-rank.two-layers"]), (assigned, OF_GROUPS), (reordered, OF_GROUPS)],
)
def test_every_implementation_has_the_outputs_of_the_block(
    layer: nn.Module, shape: tuple[int, ...], make: Callable[[nn.Module], PointwiseBlock], names: list[str]
) -> None:
    block = make(layer).double().eval()
    x = torch.randn(*shape).double()
    found = candidates_of(block).implementations
    assert [str(one.id) for one in found] == names
    for one in found:
        made = one.build()
        torch.testing.assert_close(made(x), block(x), rtol=1e-12, atol=1e-12)
        assert sum(p.numel() for p in made.parameters() if p.ndim > 1) == one.cost.macs
    assert type(found[0].build()) is type(layer)
    if make is low_rank:
        assert candidates_of(block).estimated("eager").id == found[1].id


@pytest.mark.parametrize("arguments", [{"kind": "low-rank"}, {"kind": "assigned", "ch": 8}], ids=str)
def test_a_directory_is_optimised(arguments: dict[str, Any], tmp_path: Path) -> None:
    conversion = kswap.convert("test_resnet", **arguments, device="cpu", seed=0, input_size=(64, 64))
    directory = conversion.save(tmp_path / "saved")
    quick = optimize_directory(directory, autotune=False).model
    assert not any(isinstance(module, PointwiseBlock) for module in quick.modules())
    assert {layer.implementation.kind for layer in optimization_of(quick).layers} == {arguments["kind"]}
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(quick(x), conversion.model.eval()(x), rtol=1e-4, atol=1e-4)
    assert torch.equal(kswap.load_optimized(directory)(x), quick(x))


@pytest.mark.usefixtures("few_rounds")
@pytest.mark.parametrize(
    ("arguments", "counts"), [({"kind": "low-rank"}, {2}), ({"kind": "assigned", "ch": 8}, {2, 3})], ids=str
)
def test_implementations_are_measured(arguments: dict[str, Any], counts: set[int]) -> None:
    model = kswap.convert("test_resnet", **arguments, device="cpu", seed=0).model.eval()
    done = optimization_of(optimize_for_inference(model, torch.randn(1, 3, 64, 64)))
    assert done.autotuned
    assert {len(layer.seconds) for layer in done.layers} <= counts
