"""Assigned blocks in inference: every implementation has the outputs of the block, the dense one both orders in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import kswap
from kswap.inference.kinds import candidates_of
from kswap.inference.optimize import optimize_for_inference
from kswap.inference.record import optimization_of
from kswap.inference.store import optimize_directory
from kswap.nn import PointwiseBlock, build_block
from kswap.planner import BlockSettings, plan_block


def permuted(count: int, seed: int) -> list[int]:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()


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
@pytest.mark.parametrize("assigned", [False, True])
def test_every_implementation_has_the_outputs_of_the_block(
    layer: nn.Module, shape: tuple[int, ...], assigned: bool
) -> None:
    """46 inputs at Ch 8 are 6 groups with 2 channels read twice, and 23 filters need a second path."""
    block = build_block(plan_block(46, 23, BlockSettings(kind="assigned", ch=8)), replaces=layer).double().eval()
    assert (block.plan.k.replicated, block.plan.k.extra_groups) == (2, 5)
    if assigned:
        names = permuted(46, 0)
        block.assign_([names[channel] for channel in block.plan.k.read_order()], permuted(23, 1))
    x = torch.randn(*shape).double()
    found = candidates_of(block).implementations
    assert [str(one.id) for one in found] == [
        "assigned.dense",
        "assigned.groups(height=4)",
        "assigned.groups(height=8)",
    ]
    for one in found:
        made = one.build()
        torch.testing.assert_close(made(x), block(x), rtol=1e-12, atol=1e-12)
        assert sum(p.numel() for p in made.parameters() if p.ndim > 1) == one.cost.macs
    assert type(found[0].build()) is type(layer)


def test_nothing_is_reordered_where_the_orders_are_plain() -> None:
    block = build_block(plan_block(64, 96, BlockSettings(kind="assigned", ch=16))).eval()
    found = candidates_of(block).implementations
    assert isinstance(found[1].build(), nn.Conv2d)
    assert found[1].cost.moved == 64 + 96


def test_a_directory_of_assigned_blocks_is_optimised(tmp_path: Path) -> None:
    conversion = kswap.convert("test_resnet", kind="assigned", ch=8, device="cpu", seed=0, input_size=(64, 64))
    directory = conversion.save(tmp_path / "assigned")
    quick = optimize_directory(directory, autotune=False).model
    assert not any(isinstance(module, PointwiseBlock) for module in quick.modules())
    assert {layer.implementation.kind for layer in optimization_of(quick).layers} == {"assigned"}
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(quick(x), conversion.model.eval()(x), rtol=1e-4, atol=1e-4)
    assert torch.equal(kswap.load_optimized(directory)(x), quick(x))


@pytest.mark.usefixtures("few_rounds")
def test_assigned_blocks_are_measured() -> None:
    model = kswap.convert("test_resnet", kind="assigned", ch=8, device="cpu", seed=0).model.eval()
    done = optimization_of(optimize_for_inference(model, torch.randn(1, 3, 64, 64)))
    assert done.autotuned
    assert all(len(layer.seconds) >= 2 for layer in done.layers)
