"""Groups in multiples of a number: properties of the layouts, settings from rules and callers, plans, reports."""

from __future__ import annotations

import io
from math import gcd
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from torch import nn

import kswap
from kswap.errors import PlanError, RuleError
from kswap.planner import BLOCK_KINDS, SCHEMES, BlockSettings, GroupedLayout, LayerPlan, Plan, plan_block, plan_layer
from kswap.planner.sites import Site
from kswap.report.layer import render_layer
from kswap.rules import decide, load_rules

quick = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
# Channel numbers as networks have them, many of them multiples of 8 and 16, and any others.
channels = st.one_of(
    st.integers(1, 60).map(lambda n: 16 * n), st.integers(1, 120).map(lambda n: 8 * n), st.integers(1, 500)
)
aligns = st.sampled_from([2, 4, 8, 16, 32])
ch_numbers = st.integers(1, 80)
schemes = st.sampled_from(sorted(SCHEMES))


def aligned_groups(inputs: int, filters: int, ch: int, align: int) -> list[int]:
    """By trying all: the numbers of groups of at least ``ch`` channels whose inputs and filters are multiples."""
    divides = [g for g in range(2, min(inputs, filters) + 1) if inputs % (g * align) == 0 == filters % (g * align)]
    return [g for g in divides if inputs // g >= ch]


@quick
@given(channels, channels, ch_numbers, schemes, st.booleans(), aligns)
def test_both_layers_are_aligned_or_the_layout_is_that_of_the_scheme_and_says_why(
    inputs: int, filters: int, ch: int, scheme: str, second: bool, align: int
) -> None:
    usual = plan_layer(inputs, filters, ch, scheme, second)
    made = plan_layer(inputs, filters, ch, scheme, second, align=align)
    assert made.replaces == usual.replaces
    if f"not aligned to {align}: " in made.reason or not made.replaces:
        assert (made.k, made.l, made.interleave_step) == (usual.k, usual.l, usual.interleave_step)
        return
    assert made.reason == usual.reason
    assert made.k is not None
    assert all(layout.is_aligned(align) for layout in made.layouts)
    for layout in made.layouts:
        assert layout.group_width % align == layout.filters_per_group % align == layout.extra_groups == 0


@quick
@given(channels, channels, ch_numbers, st.sampled_from(["v1", "v2"]), aligns)
def test_as_many_groups_as_fit(inputs: int, filters: int, ch: int, scheme: str, align: int) -> None:
    usual = plan_layer(inputs, filters, ch, scheme, second_layer=False)
    made = plan_layer(inputs, filters, ch, scheme, second_layer=False, align=align)
    if usual.k is None or made.k is None or usual.k.is_aligned(align):
        assert made.k == usual.k
        return
    possible = aligned_groups(inputs, filters, ch, align)
    if possible and inputs // max(possible) <= 8 * max(ch, align):
        assert made.k == GroupedLayout.even(inputs, filters, max(possible))
    else:
        assert made.k == usual.k


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ((480, 80, 16, "v2"), "K 5x16 i5 L 5x16"),
        ((672, 192, 16, "v2"), "K 6x32 i12 L 12x16"),
        ((1152, 192, 16, "v2"), "K 12x16 i12 L 12x16"),
        ((1152, 192, 32, "v2"), "K 12x16 i6 L 6x32"),
        ((2048, 512, 16, "v2"), "K 32x16 i32 L 32x16"),
        ((192, 1152, 16, "v2"), "K 12x96"),
        ((480, 80, 16, "v1"), "K 5x16 i16 L 5x16"),
        ((480, 80, 16, "shuffle"), "K 5x16 i16 L 5x16"),
    ],
)
def test_layouts_of_real_layers(layer: tuple[int, int, int, str], expected: str) -> None:
    assert plan_layer(*layer, align=16).short() == expected


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ((144, 40), "K + L; not aligned to 16: 40 filters are no multiple"),
        ((24, 144), "more outputs than inputs: K alone; not aligned to 16: 24 input channels are no multiple"),
        ((480, 112), "K + L; not aligned to 16: 30 and 7 blocks of channels have no common divisor"),
        (
            (1152, 320),
            "K + L; not aligned to 16: the most groups that fit are 4 with 288 inputs each, more than 8 x 16",
        ),
    ],
)
def test_why_a_layer_is_not_aligned(layer: tuple[int, int], reason: str) -> None:
    assert plan_layer(*layer, ch=16, align=16).reason == reason


@quick
@given(channels, channels, ch_numbers, st.sampled_from(["grouped", "assigned"]), aligns)
def test_plans_of_blocks_are_read_as_they_were_written(
    inputs: int, filters: int, ch: int, kind: str, align: int
) -> None:
    made = plan_block(inputs, filters, BlockSettings(kind=kind, ch=ch, align=align))
    table = made.shape_to_json()
    assert table["align"] == align
    read = BLOCK_KINDS[kind].plan_class.shape_from_json(table | {"reason": made.reason}, inputs, filters, "site 'a'")
    assert read == made
    assert "align" not in plan_block(inputs, filters, BlockSettings(kind=kind, ch=ch)).shape_to_json()


def test_assigned_blocks_have_the_same_groups() -> None:
    made = plan_block(1152, 192, BlockSettings(kind="assigned", align=16))
    assert made.short() == "assigned 12x16"
    unaligned = plan_block(480, 112, BlockSettings(kind="assigned", align=16))
    assert unaligned.reason.endswith("; not aligned to 16: 30 and 7 blocks of channels have no common divisor")


@pytest.mark.parametrize("align", [1, 0, -16, 2.0, "16", True, 4096])
def test_other_numbers_are_refused(align: Any) -> None:
    message = r"align \(multiple of channels and filters per group\) must be a whole number from 2 to 1,024"
    with pytest.raises(PlanError, match=message):
        plan_layer(64, 64, 16, align=align)
    with pytest.raises(RuleError, match=message):
        load_rules({"align": align})
    stored = plan_layer(64, 64, 16, align=16).shape_to_json() | {"align": align}
    with pytest.raises(PlanError, match=message):
        LayerPlan.shape_from_json(stored, 64, 64, "site 'a'")


def test_rules_set_it_for_all_sites_or_for_some() -> None:
    rules = load_rules({"align": 8, "rule": [{"match": {"name": "b"}, "align": 16}]})
    asked = BlockSettings(align=4)
    assert [decide(rules, Site(name, 64, 64), asked).block.align for name in "ab"] == [8, 16]
    assert decide(load_rules({}), Site("a", 64, 64), asked).block.align == 4
    with pytest.raises(RuleError, match="a low-rank block has no groups to align; leave out align"):
        load_rules({"kind": "low-rank", "align": 16})


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 96, 1), nn.Conv2d(96, 48, 1), nn.Conv2d(48, 40, 1), nn.Conv2d(40, 4, 3))


def test_plans_conversions_and_reports_say_which_sites_are_aligned() -> None:
    model, x = network(), torch.zeros(1, 3, 6, 6)
    plan = kswap.plan(model, ch=8, align=16, example_input=x)
    assert [plan[name].short() for name in "12"] == ["K 3x16 i6 L 3x16", kswap.plan_layer(48, 40, ch=8).short()]
    assert "not aligned to 16: 40 filters are no multiple" in plan["2"].reason
    assert plan.notes == ("groups aligned to 16 in 1 of 2 replaced layers; the reasons of the others say why not",)
    assert Plan.from_json(plan.to_json()) == plan
    conversion = kswap.convert(model, ch=8, align=16, example_input=x, seed=0)
    assert conversion.plan == plan
    assert conversion.model(x).shape == model(x).shape
    assert [row["align"] for row in conversion.report.to_json()["sites"] if row["action"] == "replace"] == [16, 16]


def test_without_it_nothing_is_aligned() -> None:
    plan = kswap.plan(network(), ch=8, example_input=torch.zeros(1, 3, 6, 6))
    assert plan["1"].short() == kswap.plan_layer(96, 48, ch=8).short() == "K 12x4 i6 L 6x8"
    assert plan.notes == ()


def test_low_rank_blocks_have_no_groups_to_align() -> None:
    with pytest.raises(PlanError, match="align is for blocks of groups, and a low-rank block has none"):
        kswap.plan(network(), kind="low-rank", align=16, example_input=torch.zeros(1, 3, 6, 6))


def test_a_gcd_is_what_decides() -> None:
    assert GroupedLayout.aligned(960, 160, ch=1, align=16).groups == gcd(60, 10)  # type: ignore[union-attr]


def test_an_explanation_says_whether_the_groups_are_aligned() -> None:
    def shown(*layer: int) -> str:
        console = Console(file=io.StringIO(), width=200)
        render_layer(plan_layer(*layer, ch=16, align=16), console)
        return console.file.getvalue()

    assert "Inputs and filters of every group are multiples of 16." in shown(1152, 192)
    assert "multiples of 16" in shown(192, 1152)
    assert "Groups are not aligned to 16: 30 and 7 blocks of channels have no common divisor." in shown(480, 112)


def test_k_keeps_its_groups_where_l_cannot_be_aligned() -> None:
    made = plan_layer(48, 32, 17, "v2", align=2)
    assert made.k == plan_layer(48, 32, 17, "v2").k
    assert made.reason == "K + L; not aligned to 2: 32 channels are less than two groups of 17"
