"""The assigned kind: layouts, orders, reports, comparisons, projection; what it shares is in test_kinds_on_the_road."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from kinds_fixture import NAME, SIZE, assigned_at_random, plan_with_orders
from rich.console import Console
from torch import nn

import kswap
from kswap.errors import KswapError, PlanError, ReportError
from kswap.nn import AssignedBlock, GroupedBlock, build_block
from kswap.planner import BlockSettings, plan_block, plan_layer
from kswap.planner.kinds.assigned import AssignedPlan
from kswap.report.diff import diff_reports
from kswap.report.renderers import render
from kswap.report.report import Report, report_of


def assigned_plan(inputs: int, outputs: int, ch: int = 16) -> AssignedPlan:
    made = plan_block(inputs, outputs, BlockSettings("assigned", ch))
    assert isinstance(made, AssignedPlan)
    return assigned_at_random(made)


@pytest.fixture(scope="module")
def conversion() -> kswap.Conversion:
    return kswap.convert(NAME, plan=plan_with_orders(), num_classes=5, device="cpu", seed=0)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 64), st.sampled_from(["v1", "v2"]))
def test_the_layout_is_that_of_k_alone(inputs: int, filters: int, ch: int, scheme: str) -> None:
    alone = plan_layer(inputs, filters, ch, scheme, second_layer=False)
    plan = plan_block(inputs, filters, BlockSettings("assigned", ch, scheme))
    assert (plan.k, plan.weights, plan.replaces) == (alone.k, alone.weights, alone.replaces)
    if plan.replaces:
        groups = plan.groups()
        assert sorted(channel for _, makes in groups for channel in makes) == [*range(filters)]
        assert {channel for reads, _ in groups for channel in reads} == {*range(inputs)}
        again = assigned_at_random(plan)
        assert type(plan).shape_from_json(json.loads(json.dumps(again.shape_to_json())), inputs, filters, "it") == again


@pytest.mark.parametrize("channels", [(48, 32), (64, 40), (50, 90), (30, 7)])
def test_without_orders_the_block_is_k_alone(channels: tuple[int, int]) -> None:
    like = nn.Conv2d(*channels, 1)
    alone = GroupedBlock(plan_layer(*channels, 8, second_layer=False), replaces=like)
    block = build_block(plan_block(*channels, BlockSettings("assigned", 8)), replaces=like)
    block.load_state_dict(alone.state_dict())
    x = torch.randn(2, channels[0], 3, 5)
    torch.testing.assert_close(block(x), alone(x))


@pytest.mark.parametrize("channels", [(48, 32), (64, 40), (50, 90), (30, 7)])
def test_each_group_reads_and_makes_its_channels(channels: tuple[int, int]) -> None:
    plan = assigned_plan(*channels, ch=8)
    block = AssignedBlock(plan, replaces=nn.Conv2d(*channels, 1, bias=False)).double()
    weights = torch.cat([layer.weight.detach().flatten(1) for layer in block.layers])
    wanted = torch.zeros(channels[1], channels[0], dtype=torch.float64)
    filters = plan.k.groups * plan.k.filters_per_group
    for g, (reads, makes) in enumerate(plan.groups()):
        rows = [*range(g * plan.k.filters_per_group, (g + 1) * plan.k.filters_per_group), filters + g][: len(makes)]
        wanted[torch.tensor(makes)[:, None], torch.tensor(reads)] = weights[rows]
    x = torch.randn(2, channels[0], 3, 3, dtype=torch.float64)
    torch.testing.assert_close(block(x), torch.einsum("fc,nchw->nfhw", wanted, x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "layer",
    [nn.Linear(24, 40), nn.Conv1d(24, 40, 1, stride=2), nn.Conv3d(24, 40, 1, bias=False), nn.Conv2d(24, 40, 1)],
    ids=["Linear", "Conv1d", "Conv3d", "Conv2d"],
)
def test_orders_survive_the_meta_device_and_are_no_state(layer: nn.Module) -> None:
    plan = assigned_plan(24, 40, ch=5)
    block = AssignedBlock(plan, replaces=layer)
    x = torch.randn((3, 24) if isinstance(layer, nn.Linear) else (2, 24, *(4,) * len(layer.stride)))
    assert block(x).shape == layer(x).shape
    assert not any("order" in name for name in block.state_dict())
    again = AssignedBlock(plan, replaces=layer).to("meta").to_empty(device="cpu")
    again.load_state_dict(block.state_dict())
    assert torch.equal(again(x), block(x))


def test_orders_are_assigned_in_place() -> None:
    plan = assigned_plan(24, 40, ch=5)
    block, wanted = build_block(replace(plan, reads=None, writes=None)), build_block(plan)
    wanted.load_state_dict(block.state_dict())
    x = torch.randn(1, 24, 2, 2)
    before = block(x)
    block.assign_(plan.reads, plan.writes)
    assert block.plan == plan
    assert torch.equal(block(x), wanted(x))
    with pytest.raises(PlanError, match="writes must name every channel, and channel 39 is missing"):
        block.assign_(plan.reads, [0, *range(39)])
    assert torch.equal(block(x), wanted(x))
    block.assign_(None, None)
    assert torch.equal(block(x), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reads": [0, 1]}, "reads must name 32 channels, not 2"),
        ({"writes": ["a"]}, "writes must be a list of channel numbers"),
        ({"writes": [0.5] * 64}, "writes must be a list of channel numbers"),
        ({"writes": {}}, "writes must be a list of channel numbers"),
        ({"reads": [0] * 32}, "reads must name every channel, and channel 1 is missing"),
        ({"reads": [*range(31), 32]}, "reads must name channels from 0 to 31, not 32"),
        ({"reads": [*range(1, 32), -1]}, "reads must name channels from 0 to 31, not -1"),
        ({"k": None}, "a layout without K can have neither reads nor writes"),
        ({"interleave_step": 3}, "is of kind assigned, which has no interleave_step"),
    ],
)
def test_orders_that_do_not_fit_are_one_sentence(change: dict[str, object], message: str) -> None:
    data = plan_with_orders().to_json()
    site = next(site for site in data["sites"] if site["name"] == "blocks.3.0.conv_pw" and site["action"] == "replace")
    site |= change
    with pytest.raises(KswapError, match=message) as caught:
        kswap.Plan.from_json(data)
    assert "\n" not in str(caught.value)
    if "k" not in change and "interleave_step" not in change:
        report = report_of(plan_with_orders()).to_json()
        next(row for row in report["sites"] if row["name"] == site["name"]).update(change)
        with pytest.raises(ReportError, match=message):
            Report.from_json(report)


def test_a_group_that_reads_a_channel_twice_is_refused() -> None:
    plan = plan_block(10, 12, BlockSettings("assigned", 4))
    assert plan.k.replicated == 2
    with pytest.raises(PlanError, match="reads names a channel twice in group 3"):
        replace(plan, reads=(*range(10), 8, 9))


@pytest.mark.parametrize("format_", ["rich", "json", "md", "html", "csv"])
def test_compared_with_other_orders(conversion: kswap.Conversion, format_: str) -> None:
    fresh = report_of(kswap.plan(NAME, ch=4, kind="assigned", num_classes=5, input_size=SIZE))
    assert "reads" in diff_reports(fresh, conversion.report).changed[0].fields
    file = io.StringIO()
    render(diff_reports(fresh, conversion.report), format_, Console(file=file, width=120))
    assert ("assigned" in file.getvalue()) is (format_ != "csv")


@pytest.mark.parametrize("format_", ["rich", "json", "md", "html", "csv"])
def test_reported(conversion: kswap.Conversion, format_: str) -> None:
    file = io.StringIO()
    render(conversion.report, format_, Console(file=file, width=120))
    assert "assigned" in file.getvalue()
    if format_ == "json":
        assert Report.from_json(json.loads(file.getvalue())) == conversion.report
    if format_ == "csv":  # a number for every channel is nothing for a table
        assert "reads" not in file.getvalue().splitlines()[0]


def test_a_projection_assigns_and_stores_the_orders(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = timm.create_model("test_efficientnet", num_classes=5).eval()
    x = torch.randn(8, 3, *SIZE)
    done = kswap.convert(model, ch=8, kind="assigned", input_size=SIZE, init="project", calibration=x, seed=0)
    assert len(done.plan.replaced) > 5
    for site in done.plan.replaced:
        assert site.layer.is_assigned
        assert done.model.get_submodule(site.name).plan == site.layer
    again = kswap.load(done.save(tmp_path / "m"), model=model)
    with torch.no_grad():
        assert torch.equal(again.model(x), done.model.eval()(x))
    assert again.plan == done.plan
    alone = kswap.convert(
        model, ch=8, rules="no-second-layer", input_size=SIZE, init="project", calibration=x, seed=0
    ).report.projection
    errors = [sum(site.error for site in record.sites) for record in (done.report.projection, alone)]
    assert errors[0] < errors[1]


def test_no_rank() -> None:
    with pytest.raises(PlanError, match="rank is for the kind low-rank"):
        kswap.plan(NAME, kind="assigned", rank=4)
    with pytest.raises(kswap.errors.RuleError, match="an assigned block has no rank"):
        kswap.plan(NAME, rules={"rule": [{"match": {"name": "*"}, "kind": "assigned", "rank": 3}]})
