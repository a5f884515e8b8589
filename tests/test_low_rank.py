"""The low-rank kind: ranks, reports, comparisons, rules; what it shares with others is in test_kinds_on_the_road."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kinds_fixture import NAME, SIZE
from rich.console import Console
from torch import nn

import kswap
from kswap.benchmarks.markdown import render_markdown
from kswap.errors import PlanError, RuleError
from kswap.nn import LowRankBlock
from kswap.planner import BlockSettings, plan_block, plan_layer
from kswap.report.diff import diff_reports
from kswap.report.renderers import render
from kswap.report.report import report_of
from kswap.rules import load_rules


@pytest.fixture(scope="module")
def conversion() -> kswap.Conversion:
    return kswap.convert(NAME, ch=4, kind="low-rank", num_classes=5, input_size=SIZE, device="cpu", seed=0)


@given(st.integers(1, 600), st.integers(1, 600), st.integers(1, 64), st.sampled_from(["v1", "v2"]))
def test_the_chosen_rank_has_about_the_weights_of_the_grouped_block(
    inputs: int, filters: int, ch: int, scheme: str
) -> None:
    grouped = plan_layer(inputs, filters, ch, scheme)
    plan = plan_block(inputs, filters, BlockSettings("low-rank", ch, scheme))
    assert plan.weights <= plan.dense_weights
    if plan.replaces:
        both = inputs + filters
        assert grouped.replaces
        assert abs(plan.weights - grouped.weights) <= both / 2 or plan.weights == both
    elif not grouped.replaces:
        assert plan.reason == grouped.reason
    else:
        assert "saves no weights" in plan.reason


@given(st.integers(1, 600), st.integers(1, 600), st.integers(1, 700))
def test_a_rank_that_is_given_is_taken_where_it_saves_weights(inputs: int, filters: int, rank: int) -> None:
    plan = plan_block(inputs, filters, BlockSettings("low-rank", rank=rank))
    assert plan.replaces is (rank * (inputs + filters) < inputs * filters)
    assert plan.short() == (f"rank {rank}" if plan.replaces else "kept")


def test_the_block_is_a_product_of_two_matrices() -> None:
    plan = plan_block(48, 32, BlockSettings("low-rank", rank=6))
    block = LowRankBlock(plan, replaces=nn.Conv2d(48, 32, 1, stride=2)).double()
    x = torch.randn(2, 48, 6, 6, dtype=torch.float64)
    down, up = (layer.weight.flatten(1) for layer in block.layers)
    wanted = torch.einsum("fr,rc,nchw->nfhw", up, down, x[:, :, ::2, ::2]) + block.up.bias[:, None, None]
    torch.testing.assert_close(block(x), wanted, rtol=1e-12, atol=1e-12)
    assert block.down.bias is None
    assert (block.in_channels, block.out_channels, block.stride) == (48, 32, (2, 2))


@pytest.mark.parametrize(
    "layer",
    [nn.Linear(24, 40), nn.Conv1d(24, 40, 1, stride=2), nn.Conv3d(24, 40, 1, bias=False)],
    ids=["Linear", "Conv1d", "Conv3d"],
)
def test_other_layers_than_2d_convolutions(layer: nn.Module) -> None:
    plan = plan_block(24, 40, BlockSettings("low-rank", rank=5))
    block = LowRankBlock(plan, replaces=layer)
    x = torch.randn((3, 24) if isinstance(layer, nn.Linear) else (2, 24, *(4,) * len(layer.stride)))
    assert block(x).shape == layer(x).shape
    assert {type(part) for part in block.layers} <= {type(layer), type(block.up)}


@pytest.mark.parametrize("format_", ["rich", "json", "md", "html", "csv"])
def test_compared_with_the_grouped_conversion(conversion: kswap.Conversion, format_: str) -> None:
    grouped = report_of(kswap.plan(NAME, ch=4, num_classes=5, input_size=SIZE))
    file = io.StringIO()
    render(diff_reports(grouped, conversion.report), format_, Console(file=file, width=120))
    assert "rank 2" in file.getvalue() or format_ in ("csv", "json")
    assert "low-rank" in file.getvalue()


def test_a_stored_rank_is_replayed() -> None:
    data = kswap.plan(NAME, ch=4, kind="low-rank").to_json()
    data["sites"][0]["rank"] = 5
    plan = kswap.Plan.from_json(data)
    assert plan.replaced[0].short() == "rank 5"
    del data["sites"][0]["rank"]
    assert kswap.Plan.from_json(data).replaced[0].short() == "rank 2"
    data["sites"][0]["rank"] = 5000
    with pytest.raises(PlanError, match=r"rank 5000 takes 440,000 weights and the dense layer 1,536"):
        kswap.Plan.from_json(data)


def test_benchmarked_beside_its_original() -> None:
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Conv2d(64, 64, 1), nn.BatchNorm2d(64), nn.Conv2d(64, 9, 3))
    found = kswap.bench(model, kind="low-rank", input_size=(8, 8), rounds=1, memory=False, autotune=False)
    assert {row.kind for row in found.rows} == {"low-rank"}
    assert found.rows[0].params.converted < found.rows[0].params.original
    assert "16 low-rank" in render_markdown(found)


def test_mixed_with_grouped_blocks_by_rule(tmp_path: Path) -> None:
    rules = {
        "rule": [{"match": {"role": "expansion"}, "kind": "low-rank", "rank": 4}, {"match": {"role": "projection"}}]
    }
    rules["rule"][1]["ch"] = 8
    conversion = kswap.convert(NAME, ch=4, rules=rules, num_classes=5, input_size=SIZE, device="cpu", seed=0)
    kinds = {site.site.role: site.layer.kind for site in conversion.plan.replaced}
    assert kinds == {"expansion": "low-rank", "projection": "grouped", "squeeze-excite": "grouped"}
    assert {site.layer.rank for site in conversion.plan.replaced if site.layer.kind == "low-rank"} == {4}
    again = kswap.load(conversion.save(tmp_path / "m"))
    assert again.plan == conversion.plan


def test_graph_module_shows_both_layers(conversion: kswap.Conversion) -> None:
    names = {node.name for node in conversion.graph_module.graph.nodes}
    assert {"blocks_1_0_conv_pwl_down", "blocks_1_0_conv_pwl_up"} <= names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"kind": "lowrank"},
            r"unknown kind of block 'lowrank': known are grouped, low-rank, assigned; did you mean low-rank\?",
        ),
        ({"rank": 4}, "rank is for the kind low-rank"),
        ({"kind": "low-rank", "rank": 0}, "rank must be a whole number from 1"),
        ({"kind": "low-rank", "rank": "4"}, "rank must be a whole number from 1"),
    ],
)
def test_wrong_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        kswap.plan(NAME, **arguments)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"kind": "dense"}, "kind must be one of grouped, low-rank"),
        ({"kind": "grouped", "rank": 3}, "a grouped block has no rank"),
        ({"rank": True}, "rank must be a whole number"),
        ({"kind": "low-rank", "placement": "absorbed"}, "a low-rank block takes in no norm or activation"),
        ({"sum": "no"}, "sum must be true or false"),
    ],
)
def test_wrong_rules(rule: dict, message: str) -> None:
    with pytest.raises(RuleError, match=message):
        load_rules({"rule": [{"match": {"name": "*"}, **rule}]})
