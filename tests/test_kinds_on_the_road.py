"""The kinds of block that are one linear map, on the whole road: counts, save, load, optimise, export, optimizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from kinds_fixture import NAME, SIZE, plan_with_orders
from torch import nn

import kswap
from kswap.nn import AssignedBlock, LowRankBlock
from kswap.planner.counting import count_plan
from kswap.runtimes.export import export_model

# For each kind its block, and what conversions are made from.
KINDS: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "low-rank": (LowRankBlock, {"ch": 4, "kind": "low-rank", "input_size": SIZE}),
    "assigned": (AssignedBlock, {"plan": plan_with_orders()}),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def conversion(kind: str) -> kswap.Conversion:
    return kswap.convert(NAME, **KINDS[kind][1], num_classes=5, device="cpu", seed=0)


def test_counts_are_exact(kind: str, conversion: kswap.Conversion) -> None:
    built = sum(p.numel() for p in conversion.model.parameters())
    assert count_plan(conversion.plan).params == built == conversion.report.params.after
    blocks = [module for module in conversion.model.modules() if isinstance(module, KINDS[kind][0])]
    assert len(blocks) == len(conversion.plan.replaced) > 5
    for site in conversion.report.replaced:
        block = conversion.model.get_submodule(site.name)
        assert site.params_after == sum(p.numel() for p in block.parameters())
        assert (site.kind, site.block, site.placement) == (kind, block.plan, "linear")


def test_macs_are_those_that_torch_counts(conversion: kswap.Conversion) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        conversion.model.eval()(torch.zeros(1, 3, *SIZE))
    assert counter.get_total_flops() == 2 * conversion.report.macs.after


def test_saved_and_loaded(conversion: kswap.Conversion, tmp_path: Path) -> None:
    again = kswap.load(conversion.save(tmp_path / "m"))
    x = torch.randn(2, 3, *SIZE)
    with torch.no_grad():
        assert torch.equal(again.model(x), conversion.model.eval()(x))
    assert again.plan == conversion.plan
    assert again.report == conversion.report
    assert not any("stored layouts" in note for note in again.plan.notes)
    assert kswap.Plan.from_json(json.loads(json.dumps(conversion.plan.to_json()))) == conversion.plan


def test_optimised_for_inference_and_training(kind: str, conversion: kswap.Conversion) -> None:
    x = torch.randn(1, 3, *SIZE)
    quick = kswap.optimize_for_inference(conversion.model, x, autotune=False)
    with torch.no_grad():
        torch.testing.assert_close(quick(x), conversion.model.eval()(x), rtol=1e-4, atol=1e-6)
    assert not any(isinstance(module, KINDS[kind][0]) for module in quick.modules())
    trained = kswap.optimize_for_training(conversion.model.train(), torch.randn(2, 3, *SIZE), autotune=False)
    assert any(isinstance(module, KINDS[kind][0]) for module in trained.modules())


def test_exported_and_read_back(conversion: kswap.Conversion, tmp_path: Path) -> None:
    exported = export_model(conversion.model, torch.randn(1, 3, *SIZE), "onnx", tmp_path / "m.onnx")
    assert exported.error < 1e-4
    assert (tmp_path / "m.onnx").is_file()


@pytest.mark.parametrize("arguments", [{"kind": "low-rank", "rank": 6}, {"kind": "assigned"}], ids=str)
def test_an_optimizer_follows(arguments: dict[str, Any]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Conv2d(64, 64, 1), nn.BatchNorm2d(64), nn.Flatten(), nn.LazyLinear(3))
    model(torch.zeros(1, 3, 8, 8))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    converted = kswap.convert(model, **arguments, input_size=(8, 8), optimizer=optimizer).model
    held = {id(p) for p in optimizer.param_groups[0]["params"]}
    assert held == {id(p) for p in converted.parameters()}
