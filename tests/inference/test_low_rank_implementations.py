"""Low-rank blocks in inference: every implementation has the outputs of the block."""

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


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(48, 20, 1, stride=2), (2, 48, 5, 4)),
        (nn.Conv2d(48, 20, 1, bias=False), (2, 48, 5, 4)),
        (nn.Conv1d(48, 20, 1), (2, 48, 7)),
        (nn.Conv3d(48, 20, 1), (2, 48, 3, 2, 2)),
        (nn.Linear(48, 20), (2, 7, 48)),
    ],
    ids=["strided", "no bias", "conv1d", "conv3d", "linear"],
)
def test_every_implementation_has_the_outputs_of_the_block(layer: nn.Module, shape: tuple[int, ...]) -> None:
    plan = plan_block(48, 20, BlockSettings(kind="low-rank", rank=4))
    block = build_block(plan, replaces=layer).double().eval()
    x = torch.randn(*shape).double()
    found = candidates_of(block).implementations
    assert [str(one.id) for one in found] == ["low-rank.dense", "low-rank.two-layers"]
    for one in found:
        made = one.build()
        torch.testing.assert_close(made(x), block(x), rtol=1e-12, atol=1e-12)
        weights = sum(p.numel() for p in made.parameters() if p.ndim > 1)
        assert weights == one.cost.macs
    assert candidates_of(block).estimated("eager").id == found[1].id


def test_a_directory_of_low_rank_blocks_is_optimised(tmp_path: Path) -> None:
    conversion = kswap.convert("test_resnet", kind="low-rank", device="cpu", seed=0, input_size=(64, 64))
    directory = conversion.save(tmp_path / "low")
    quick = optimize_directory(directory, autotune=False).model
    assert not any(isinstance(module, PointwiseBlock) for module in quick.modules())
    assert {layer.implementation.kind for layer in optimization_of(quick).layers} == {"low-rank"}
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(quick(x), conversion.model.eval()(x), rtol=1e-4, atol=1e-4)
    assert torch.equal(kswap.load_optimized(directory)(x), quick(x))


@pytest.mark.usefixtures("few_rounds")
def test_low_rank_blocks_are_measured() -> None:
    model = kswap.convert("test_resnet", kind="low-rank", device="cpu", seed=0).model.eval()
    done = optimization_of(optimize_for_inference(model, torch.randn(1, 3, 64, 64)))
    assert done.autotuned
    assert all(len(layer.seconds) == 2 for layer in done.layers)
