"""The planner against the papers and the authors' networks, its properties, and plans as JSON."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from kswap.errors import PlanError
from kswap.planner import (
    SCHEMES,
    Counts,
    GroupedLayout,
    LayerPlan,
    Plan,
    SitePlan,
    interleave_order,
    plan_layer,
)
from kswap.planner.activations import ACTIVATIONS
from kswap.planner.counting import count_site
from kswap.planner.site_plan import PLACEMENTS
from kswap.planner.sites import ROLES, AbsorbedLayer, Site
from kswap.report.report import report_of

DATA = Path(__file__).parents[1] / "data"
BLOCKS: list[dict[str, Any]] = json.loads((DATA / "blocks.json").read_text(encoding="utf-8"))
NETWORKS: list[dict[str, Any]] = json.loads((DATA / "networks.json").read_text(encoding="utf-8"))

quick = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])

channels = st.integers(1, 640)
layer_plans = st.builds(
    plan_layer, channels, channels, st.integers(1, 80), st.sampled_from(sorted(SCHEMES)), st.booleans()
)


def convs_of(plan: LayerPlan) -> dict[str, list[int]]:
    """The convolutions of a plan as ``[inputs, filters, groups]``, under the names that the data files use."""
    if plan.k is None:
        return {"k1": [plan.in_channels, plan.out_channels, 1]}
    convs = {}
    for name, layer in (("k", plan.k), ("l", plan.l)):
        if layer is not None:
            convs[f"{name}1"] = [layer.groups * layer.group_width, layer.groups * layer.filters_per_group, layer.groups]
        if layer is not None and layer.extra_groups:
            convs[f"{name}2"] = [layer.extra_groups * layer.group_width, layer.extra_groups, layer.extra_groups]
    return convs


def copies_of(plan: LayerPlan) -> list[list[int]]:
    """The copies of channels that a block makes: what is replicated, then what the second path reads."""
    copies = []
    for layer in (plan.k, plan.l):
        if layer is not None and layer.replicated:
            copies.append([0, layer.replicated])
        if layer is not None and layer.extra_groups:
            copies.append([0, layer.extra_groups * layer.group_width])
    return copies


# The papers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "ch", "first", "second", "weights"),
    [
        (14, 10, 4, "4x2+2", "3x3+1", 80),
        (160, 3840, 16, "10x384", None, 61_440),
        (160, 3840, 32, "5x768", None, 122_880),
        (192, 1152, 16, "12x96", None, 18_432),
        (192, 1152, 32, "6x192", None, 36_864),
        (1152, 320, 16, "72x4+32", "20x16", 10_240),
        (1152, 320, 32, "36x8+32", "10x32", 20_480),
        (3840, 640, 16, "240x2+160", "40x16", 20_480),
        (3840, 640, 32, "120x5+40", "20x32", 40_960),
    ],
)
def test_table_1_of_the_2022_paper(
    in_channels: int,
    out_channels: int,
    ch: int,
    first: str,
    second: str | None,
    weights: int,
) -> None:
    plan = plan_layer(in_channels, out_channels, ch)
    assert plan.scheme == "v2"
    assert plan.k is not None
    assert plan.k.short() == first
    assert (plan.l.short() if plan.l else None) == second
    assert plan.weights == weights


def test_worked_example_of_the_2022_paper() -> None:
    plan = plan_layer(14, 10, 4)
    assert plan.k == GroupedLayout(14, 10, groups=4, filters_per_group=2, extra_groups=2, group_width=4, replicated=2)
    assert plan.l == GroupedLayout(10, 10, groups=3, filters_per_group=3, extra_groups=1, group_width=4, replicated=2)
    assert plan.interleave_step == 2
    assert interleave_order(10, 2) == [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]
    assert plan.k.read_order() == [*range(14), 0, 1]
    assert plan.short() == "K 4x2+2 i2 L 3x3+1"


def test_scheme_v1_of_the_2021_paper() -> None:
    plan = plan_layer(1024, 512, 16, scheme="v1")
    assert convs_of(plan) == {"k1": [1024, 512, 64], "l1": [512, 512, 64]}
    assert (plan.k and plan.k.weights, plan.l and plan.l.weights) == (8192, 4096)
    assert plan.interleave_step == 8


# The authors' networks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block["id"])
def test_every_published_block(block: dict[str, Any]) -> None:
    plan = plan_layer(block["Ic"], block["F"], block["Ch"], block["version"])
    assert convs_of(plan) == block["convs"]
    assert copies_of(plan) == block["copy_channels"]
    assert ([plan.interleave_step] if plan.interleave_step else []) == block["interleave_steps"]
    assert plan.weights == block["conv_weights"]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block["id"])
def test_every_published_block_has_the_trainable_parameters(block: dict[str, Any]) -> None:
    filters = block["F"]
    norm = AbsorbedLayer("bn", "BatchNorm2d", params=2 * filters, trainable_params=2 * filters)
    site = Site("conv", block["Ic"], filters, bias=block["use_bias"], norm=norm if block["has_batch_norm"] else None)
    layer = plan_layer(block["Ic"], filters, block["Ch"], block["version"])
    plan = SitePlan(site, layer, "keep" if layer.k is None else "replace", layer.reason)
    assert count_site(plan).after.trainable_params == block["trainable_params"]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network["id"])
def test_every_layer_of_the_published_networks(network: dict[str, Any]) -> None:
    replaced = 0
    for site in network["sites"]:
        plan = plan_layer(
            site["in_channels"], site["out_channels"], network["ch"], network["scheme"], network["second_layer"]
        )
        replaced += plan.k is not None
        if site.get("kept_by_hand"):
            assert plan.k is not None, site["name"]
            continue
        assert convs_of(plan) == site["convs"], site["name"]
        assert plan.interleave_step == site["interleave_step"], site["name"]
    assert replaced > len(network["sites"]) // 2


def test_the_data_covers_both_schemes_and_all_shapes() -> None:
    assert len(BLOCKS) == 106
    assert sum(len(network["sites"]) for network in NETWORKS) == 534
    assert {block["version"] for block in BLOCKS} == {network["scheme"] for network in NETWORKS} == {"v1", "v2"}
    for wanted in (
        {"k1"},
        {"k1", "k2"},
        {"k1", "l1"},
        {"k1", "k2", "l1"},
        {"k1", "k2", "l1", "l2"},
        {"k1", "l1", "l2"},
    ):
        assert any(set(block["convs"]) == wanted for block in BLOCKS), wanted


# Single rules ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "ch", "replaced"),
    [
        (32, 16, 16, False),  # Ic is 2 * Ch
        (33, 16, 16, True),
        (32, 32, 16, False),
        (17, 18, 16, True),  # F > Ic > Ch
        (16, 64, 16, False),  # Ic is Ch
        (64, 1, 16, False),  # one filter: K would be dense
        (64, 2, 16, True),
        (1, 1, 1, False),
    ],
)
def test_eligibility_in_scheme_v2(in_channels: int, out_channels: int, ch: int, replaced: bool) -> None:
    plan = plan_layer(in_channels, out_channels, ch)
    assert (plan.k is not None) is replaced
    assert plan.weights == plan.dense_weights or replaced
    assert plan.reason


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "ch", "groups"),
    [
        (32, 16, 16, 2),
        (31, 16, 16, None),  # Ic // Ch is 1
        (97, 97, 16, None),  # 97 is prime
        (96, 36, 16, 6),
        (90, 36, 16, 3),  # of the common divisors 1, 2, 3, 6, 9, 18 the largest up to 90 // 16 = 5
        (480, 112, 16, 16),
    ],
)
def test_eligibility_and_groups_in_scheme_v1(in_channels: int, out_channels: int, ch: int, groups: int | None) -> None:
    plan = plan_layer(in_channels, out_channels, ch, "v1")
    assert (plan.k.groups if plan.k else None) == groups


def test_filters_cap_the_groups_and_the_groups_grow_wider() -> None:
    plan = plan_layer(1152, 48, 16)
    assert plan.k == GroupedLayout(
        1152, 48, groups=48, filters_per_group=1, extra_groups=0, group_width=24, replicated=0
    )
    capped = plan_layer(101, 7, 4).k
    assert capped == GroupedLayout(101, 7, groups=7, filters_per_group=1, extra_groups=0, group_width=15, replicated=4)


def test_one_group_in_l_is_a_dense_layer() -> None:
    plan = plan_layer(96, 4, 16)
    assert plan.l == GroupedLayout(4, 4, groups=1, filters_per_group=4, extra_groups=0, group_width=4, replicated=0)
    assert plan.l is not None
    assert plan.l.is_dense
    assert plan.interleave_step is None
    assert plan.short() == "K 4x1 L dense"


@given(channels, channels, st.integers(1, 80))
@quick
def test_no_second_layer_is_k_alone(in_channels: int, out_channels: int, ch: int) -> None:
    for scheme in SCHEMES:
        whole = plan_layer(in_channels, out_channels, ch, scheme)
        alone = plan_layer(in_channels, out_channels, ch, scheme, second_layer=False)
        assert alone.k == whole.k
        assert alone.l is None
        assert alone.interleave_step == (whole.interleave_step if scheme == "v1" else None)


@pytest.mark.parametrize("value", [0, -1, "16", 16.0, True, None, [16]])
def test_numbers_below_one_and_other_types_are_errors(value: Any) -> None:
    with pytest.raises(PlanError, match=r"ch \(channels per group\) must be a whole number of at least 1, not "):
        plan_layer(64, 64, value)
    with pytest.raises(PlanError, match="in_channels must be a whole number from 1 to 16,777,216, not "):
        plan_layer(value, 64, 16)
    with pytest.raises(PlanError, match="out_channels must be a whole number from 1 to 16,777,216, not "):
        plan_layer(64, value, 16)


@pytest.mark.parametrize("scheme", ["v3", "V2", "", None, 2])
def test_an_unknown_scheme_is_an_error(scheme: Any) -> None:
    with pytest.raises(PlanError, match=r"unknown scheme .*: known are v1, v2, shuffle"):
        plan_layer(64, 64, 16, scheme)


def test_a_layout_that_does_not_add_up_is_an_error() -> None:
    good = plan_layer(14, 10, 4).k
    assert good is not None
    for wrong, message in (
        ({"groups": 0}, "at least one"),
        ({"extra_groups": -1}, "extra_groups is -1"),
        ({"extra_groups": 4}, "extra_groups is 4"),
        ({"filters_per_group": 3}, "do not make 10 output channels"),
        ({"replicated": 3}, "do not make 4 groups of 4"),
        ({"in_channels": 18, "replicated": -2}, "do not make 4 groups of 4"),
    ):
        with pytest.raises(PlanError, match=message):
            replace(good, **wrong)


# Properties ------------------------------------------------------------------------------------------------


def weights_one_by_one(layer: GroupedLayout) -> tuple[list[set[int]], int]:
    """The input channels that each filter sees, and the number of weights, counted filter by filter."""
    order = layer.read_order()
    seen = []
    weights = 0
    for path, groups, filters in (("first", layer.groups, layer.filters_per_group), ("second", layer.extra_groups, 1)):
        for group in range(groups):
            read = order[group * layer.group_width : (group + 1) * layer.group_width]
            assert len(read) == layer.group_width, path
            seen += [set(read)] * filters
            weights += len(read) * filters
    return seen, weights


@given(layer_plans)
@quick
def test_outputs_weights_and_inputs_of_both_layers(plan: LayerPlan) -> None:
    assume(plan.k is not None)
    assert plan.k is not None
    total = 0
    for layer in (plan.k, plan.l):
        if layer is None:
            continue
        seen, weights = weights_one_by_one(layer)
        total += weights
        assert len(seen) == layer.out_channels == plan.out_channels
        assert layer.weights == weights
        first_path = seen[: layer.groups * layer.filters_per_group]
        assert set().union(*first_path) == set(range(layer.in_channels))
        assert 0 <= layer.replicated < layer.in_channels
    assert plan.weights == total


@given(layer_plans)
@quick
@example(plan_layer(3, 2, 1))
@example(plan_layer(5, 2, 2))
@example(plan_layer(32, 32, 16, "v1"))
def test_weights_never_exceed_the_dense_ones(plan: LayerPlan) -> None:
    assert plan.weights <= plan.dense_weights
    if plan.k is not None and plan.weights == plan.dense_weights:
        smallest = (plan.in_channels, plan.out_channels, plan.ch) in {(3, 2, 1), (5, 2, 2)}
        halved = plan.scheme == "v1" and plan.k.groups == 2 and plan.in_channels == plan.out_channels
        assert plan.l is not None
        assert smallest or halved


def test_weights_never_exceed_the_dense_ones_in_any_small_layer() -> None:
    sizes = range(1, 33)
    for scheme in SCHEMES:
        for in_channels in sizes:
            for out_channels in sizes:
                for ch in range(1, 17):
                    plan = plan_layer(in_channels, out_channels, ch, scheme)
                    assert plan.weights <= plan.dense_weights


@pytest.mark.parametrize(("in_channels", "out_channels", "scheme"), [(33, 32, "v2"), (32, 32, "v1")])
def test_the_report_says_where_the_norm_of_l_makes_a_site_grow(
    in_channels: int, out_channels: int, scheme: str
) -> None:
    norm = AbsorbedLayer("bn", "BatchNorm2d", 64, 64)
    layer = plan_layer(in_channels, out_channels, 16, scheme)
    site = SitePlan(Site("conv", in_channels, out_channels, norm=norm), layer, "replace", layer.reason)
    report = report_of(Plan("net", scheme, 16, "r", (3, 8, 8), (site,), Counts(9999, 9999, 9999, 9999)))
    assert layer.weights <= layer.dense_weights
    assert report.sites[0].grows
    assert report.params.after > report.params.before
    assert any("more parameters than before: conv" in note for note in report.notes)


@given(layer_plans, st.booleans(), st.booleans())
@quick
def test_a_site_grows_by_no_more_than_the_bias_and_norm_of_l(plan: LayerPlan, bias: bool, has_norm: bool) -> None:
    assume(plan.k is not None)
    filters = plan.out_channels
    norm = AbsorbedLayer("bn", "BatchNorm2d", 2 * filters, 2 * filters) if has_norm else None
    site = Site("conv", plan.in_channels, filters, bias=bias, norm=norm)
    counts = count_site(SitePlan(site, plan, "replace", plan.reason))
    of_l = filters * (bias + 2 * has_norm) if plan.l else 0
    assert counts.after.params - counts.before.params == plan.weights - plan.dense_weights + of_l


@given(layer_plans)
@quick
def test_the_interleave_is_a_permutation(plan: LayerPlan) -> None:
    if plan.interleave_step is not None:
        assert 1 < plan.interleave_step <= plan.out_channels
        assert sorted(interleave_order(plan.out_channels, plan.interleave_step)) == list(range(plan.out_channels))


@given(st.integers(1, 300), st.integers(1, 300))
@quick
def test_interleave_order_takes_every_step_th_channel(number: int, step: int) -> None:
    order = interleave_order(number, step)
    assert sorted(order) == list(range(number))
    assert order[: ceil(number / step)] == list(range(0, number, step))
    assert interleave_order(number, 1) == list(range(number))


@given(layer_plans)
@quick
def test_what_the_scheme_says_about_l_and_the_interleave(plan: LayerPlan) -> None:
    if plan.k is None:
        assert (plan.l, plan.interleave_step) == (None, None)
        return
    assert plan.k.groups > 1
    assert (plan.l is not None) == (plan.second_layer and plan.in_channels >= plan.out_channels)
    if plan.scheme == "v1":
        assert plan.k.groups <= plan.in_channels // plan.ch
        assert (plan.interleave_step or 1) == plan.k.filters_per_group
        assert plan.l is None or plan.l.groups == plan.k.groups
    else:
        step = plan.k.filters_per_group if plan.scheme == "shuffle" else plan.out_channels // plan.ch
        assert (plan.interleave_step or 0) == (step if plan.l is not None and step > 1 else 0)


# Plans as values and as JSON -------------------------------------------------------------------------------


@st.composite
def site_plans(draw: st.DrawFn, name: str = "conv") -> SitePlan:
    layer = draw(layer_plans)
    norm = draw(st.sampled_from([None, AbsorbedLayer("bn", "BatchNorm2d", 8, 8)]))
    activation = draw(st.sampled_from([None, AbsorbedLayer("", "relu", operations=3, stays=True)]))
    keep = draw(st.sampled_from([None, "the classifier is never replaced"]))
    site = Site(
        name,
        layer.in_channels,
        layer.out_channels,
        stride=draw(st.integers(1, 2)),
        bias=draw(st.booleans()),
        trainable=draw(st.booleans()),
        role=draw(st.sampled_from(ROLES)),
        positions=draw(st.integers(0, 999)),
        calls=draw(st.integers(0, 3)),
        norm=norm,
        activation=activation,
        keep_reason=keep,
        chain_break=draw(st.sampled_from([None, "the norm is shared"])),
    )
    replaced = layer.k is not None and keep is None and draw(st.booleans())
    return SitePlan(
        site,
        layer,
        "replace" if replaced else "keep",
        draw(st.sampled_from([layer.reason, "as the rules ask"])),
        draw(st.sampled_from(PLACEMENTS)),
        draw(st.sampled_from([None, *sorted(ACTIVATIONS)])),
    )


@st.composite
def whole_plans(draw: st.DrawFn) -> Plan:
    sites = tuple(draw(site_plans(f"conv{index}")) for index in range(draw(st.integers(0, 4))))
    counts = Counts(*draw(st.tuples(*[st.integers(0, 10**12)] * 4)))
    notes = draw(st.sampled_from([(), ("one", "two")]))
    scheme = draw(st.sampled_from(sorted(SCHEMES)))
    return Plan("net", scheme, draw(st.integers(1, 99)), "keffnet-v2", (3, 32, 32), sites, counts, notes)


@given(site_plans())
@quick
def test_a_site_plan_survives_json(plan: SitePlan) -> None:
    data = json.loads(json.dumps(plan.to_json()))
    assert SitePlan.from_json(data) == plan
    for key in ("k", "interleave_step", "l", "reason"):
        del data[key]
    assert SitePlan.from_json(data) == replace(plan, reason=plan.layer.reason)


@given(whole_plans())
@quick
def test_a_plan_survives_json(plan: Plan) -> None:
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_a_plan_survives_a_file(tmp_path: Path) -> None:
    plan = some_plan()
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan


def some_plan() -> Plan:
    sites = []
    for name, in_channels, out_channels in (("a", 14, 10), ("b", 64, 256), ("c", 8, 8)):
        layer = plan_layer(in_channels, out_channels, 4)
        sites.append(
            SitePlan(Site(name, in_channels, out_channels), layer, "replace" if layer.k else "keep", layer.reason)
        )
    return Plan("net", "v2", 4, "keffnet-v2", (3, 8, 8), tuple(sites), Counts(1, 2, 3, 4))


def test_a_plan_is_a_value_to_look_at() -> None:
    plan = some_plan()
    assert plan["a"].short() == "K 4x2+2 i2 L 3x3+1"
    assert [site.name for site in plan.replaced] == ["a", "b"]
    assert [site.name for site in plan.kept] == ["c"]
    assert "b: K 16x16" in str(plan)
    with pytest.raises(KeyError):
        plan["d"]


def test_sites_can_be_kept_by_hand() -> None:
    plan = some_plan()
    kept = plan.keep(["a"], "thin")
    assert (kept["a"].action, kept["a"].reason, kept["a"].short()) == ("keep", "thin", "kept")
    assert plan["a"].replaced
    assert kept["b"] == plan["b"]
    with pytest.raises(PlanError, match="the plan has no site d"):
        plan.keep(["d"])


def edited(*path: str | int, value: Any = None) -> dict[str, Any]:
    """The JSON of a plan with one value exchanged; no value: taken out."""
    data: Any = json.loads(json.dumps(some_plan().to_json()))
    table = data
    for key in path[:-1]:
        table = table[key]
    if value is None:
        del table[path[-1]]
    else:
        table[path[-1]] = value
    return data  # type: ignore[no-any-return]


def test_an_edited_ch_is_planned_anew_when_k_and_l_are_left_out() -> None:
    data = edited("sites", 0, "ch", value=2)
    for key in ("k", "interleave_step", "l"):
        del data["sites"][0][key]
    assert Plan.from_json(data)["a"].layer == plan_layer(14, 10, 2)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("sites", 0, "ch"), 2),
        (("sites", 0, "second_layer"), False),
        (("sites", 0, "scheme"), "v1"),
        (("sites", 0, "k"), GroupedLayout.even(14, 10, 2).to_json()),
        (("sites", 0, "l"), GroupedLayout.even(10, 10, 2).to_json()),
        (("sites", 1, "l"), GroupedLayout.even(256, 256, 2).to_json()),
        (("sites", 0, "interleave_step"), 3),
        (("sites", 1, "interleave_step"), 2),
    ],
)
def test_the_stored_layout_is_what_counts_and_a_note_says_that_its_settings_would_make_another(
    path: tuple[str | int, ...], value: Any
) -> None:
    data = edited(*path, value=value)
    read = Plan.from_json(data)
    name = "ab"[path[1]]
    assert read[name].to_json() == data["sites"][path[1]]
    assert read.notes == (f"stored layouts are used that ch and scheme of their sites would not make: {name}",)
    assert Plan.from_json(read.to_json()) == read


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("sites", 0, "k", "groups"), 5, "do not make 10 output channels"),
        (("sites", 0, "k", "group_width"), 5, "do not make 4 groups of 5"),
        (("sites", 0, "k"), GroupedLayout.even(14, 10, 1).to_json(), "site 'a': K has one group"),
        (("sites", 0, "l"), GroupedLayout.even(14, 10, 2).to_json(), "do not make 2 groups of 7"),
        (("sites", 0, "interleave_step"), 11, "interleave_step must be a whole number from 2 to 10, not 11"),
        (("sites", 0, "interleave_step"), 1, "interleave_step must be a whole number from 2 to 10, not 1"),
        (("sites", 0, "kind"), "dense", "unknown kind of block 'dense': known are grouped, low-rank, assigned"),
        (("sites", 0, "kind"), "low-rank", "site 'a' is of kind low-rank, which has no second_layer"),
        (("sites", 0, "rank"), 3, "site 'a' is of kind grouped, which has no rank"),
        (("sites", 0, "k"), 5, "must be a table of five integers"),
        (("sites", 0, "k", "groups"), "4", "'groups' of a grouped layer in the plan must be an integer, not '4'"),
        (("sites", 0, "k", "groups"), True, "'groups' of a grouped layer in the plan must be an integer, not True"),
        (("sites", 0, "k", "group"), 4, "unknown key 'group' in a grouped layer of the plan; did you mean group"),
        (("sites", 0, "k", "groups"), None, "a grouped layer in the plan lacks groups"),
        (("sites", 0, "action"), "drop", "must be 'replace' or 'keep', not 'drop'"),
        (("sites", 0, "action"), None, "site 'a' of the plan lacks action"),
        (("sites", 0, "name"), None, "a site of the plan must be a table with a name"),
        (("sites", 0, "name"), "", "the name of a site must not be empty"),
        (("sites", 0), 5, "sites of the plan must be a list of tables with names, not [5"),
        (("sites", 2, "action"), "replace", "site 'c' cannot be replaced: 8 input channels, needs more than 8"),
        (("sites", 0, "keep_reason"), "shared", "site 'a' cannot be replaced: shared"),
        (("sites", 0, "ch"), 0, "at least 1, not 0"),
        (("sites", 0, "ch"), "4", "at least 1, not '4'"),
        (("sites", 0, "scheme"), "v3", "unknown scheme 'v3'"),
        (("sites", 0, "second_layer"), "no", "second_layer of site 'a' must be true or false, not 'no'"),
        (("sites", 0, "placement"), "inside", "placement of site 'a' must be one of absorbed, linear"),
        (("sites", 0, "new_activation"), "swish", "unknown activation 'swish': known are identity, "),
        (("sites", 0, "role"), "stem", "unknown role 'stem' of site 'a'"),
        (("sites", 0, "in_channels"), 0, "in_channels of site 'a' must be at least 1, not 0"),
        (("sites", 0, "in_channels"), "14", "in_channels of site 'a' must be a whole number, not '14'"),
        (("sites", 0, "positions"), -1, "positions of site 'a' must not be negative, but is -1"),
        (("sites", 0, "norm"), 5, "norm of site 'a' must be a table, not 5"),
        (("sites", 1, "name"), "a", "the plan names a site twice: a"),
        (("sites",), 5, "sites of the plan must be a list of tables with names, not 5"),
        (("notes",), "abc", "notes of the plan must be a list of texts"),
        (("sites", 0, "placment"), "linear", "unknown key 'placment' of site 'a'; did you mean placement?"),
        (("sites", 0, "bias"), "yes", "bias of site 'a' must be true or false"),
        (("before", "macs"), float("inf"), "must be a whole number, not inf"),
        (("sites",), None, "the plan lacks 'sites'"),
        (("before",), 5, "the counts of the plan must be a table, not 5"),
        (("before", "macs"), "many", "macs of the counts of the plan must be a whole number, not 'many'"),
        (("input_size",), 224, "input_size of the plan must be a list of whole numbers, not 224"),
        (("ch",), "4", "at least 1, not '4'"),
        (("scheme",), "v3", "unknown scheme 'v3'"),
        (("format",), 3, "this plan has format 3, and this kswap reads formats 1, 2"),
        (("format",), None, "this plan has format None"),
    ],
)
def test_an_edited_plan_that_is_wrong_is_refused(path: tuple[str | int, ...], value: Any, message: str) -> None:
    data = edited(*path, value=value)
    before = copy.deepcopy(data)
    with pytest.raises(PlanError) as caught:
        Plan.from_json(data)
    assert message in str(caught.value)
    assert data == before


@pytest.mark.parametrize("data", [None, [], "plan", 5])
def test_what_is_no_plan(data: Any) -> None:
    with pytest.raises(PlanError, match="a plan must be a JSON object"):
        Plan.from_json(data)


def test_files_that_are_no_plan(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"none\.json cannot be read: No such file"):
        Plan.load(tmp_path / "none.json")
    with pytest.raises(PlanError, match="cannot be read: Is a directory"):
        Plan.load(tmp_path)
    for content in (b"{", b"\xff", b"[" * 100_000):
        (tmp_path / "bad.json").write_bytes(content)
        with pytest.raises(PlanError, match=r"holds no valid JSON|is not UTF-8 text"):
            Plan.load(tmp_path / "bad.json")
