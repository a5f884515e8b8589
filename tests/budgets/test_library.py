"""The library of blocks of a network, its scores, and the plans that budgets make of it."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kswap.budgets.block_library import Library, library_of
from kswap.budgets.inputs import layer_inputs
from kswap.budgets.options import CHANNELS_PER_GROUP, changeable, label_of, options_of
from kswap.budgets.scoring import OutputChange, change_with, computing, evenly, interpolated
from kswap.errors import PlanError
from kswap.graph.call import Call
from kswap.planner.budget import Budget
from kswap.planner.choices import Choice
from kswap.planner.counting import count_plan
from kswap.planner.kinds import BLOCK_KINDS
from kswap.planner.plan import Plan
from kswap.planner.sites import Site
from kswap.planning import PlanSettings, plan_of, run_of
from kswap.projection.moments import Moments
from kswap.rules import decide
from kswap.surgery import check_counts


class Small(nn.Module):
    """Three pointwise convolutions, of which the last matters little to the outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(16, 48, 1, bias=False)
        self.norm = nn.BatchNorm2d(48)
        self.second = nn.Conv2d(48, 32, 1, stride=2)
        self.third = nn.Conv2d(32, 32, 1)
        self.head = nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(F.relu(self.norm(self.first(x))))
        x = x + 0.01 * self.third(F.relu(x))
        out: torch.Tensor = self.head(x.mean((2, 3)))
        return out


def small() -> Small:
    torch.manual_seed(0)
    model = Small().eval()
    with torch.no_grad():
        model.head.weight.mul_(20)
    return model


def batches(count: int = 2) -> list[Call]:
    generator = torch.Generator().manual_seed(1)
    mixing = torch.randn(16, 16, generator=generator)
    x = torch.randn(16 * count, 16, 6, 6, generator=generator).transpose(1, 3) @ mixing
    return [Call((part,)) for part in x.transpose(1, 3).split(16)]


def planned(model: nn.Module, rules: object = None, linear: bool = False) -> tuple[Plan, PlanSettings]:
    call = batches()[0]
    settings = PlanSettings.of(CHANNELS_PER_GROUP[0], "v2", rules, linear)  # type: ignore[arg-type]
    return plan_of(model, "small", settings, call, run_of(model, "small", call, settings.kinds), ()), settings


@pytest.fixture(scope="module")
def library() -> Library:
    model = small()
    return library_of(model, *planned(model), batches(), progress=False)


def test_every_unit_can_stay_and_has_each_layout_once_with_its_costs(library: Library) -> None:
    assert [unit.name for unit in library.units] == ["first", "second", "third"]
    model = small()
    assert library.original.params == sum(p.numel() for p in model.parameters())
    assert library.original.bytes == sum(t.nbytes for t in model.state_dict().values())
    assert library.shapes["second"] == (1, 48, 6, 6)
    for unit in library.units:
        layer = model.get_submodule(unit.name)
        assert unit.kept.cost.params == sum(p.numel() for p in layer.parameters())
        assert unit.kept.score == 0
        kinds = {choice.sites[unit.name].layer.kind for choice in unit.choices[1:]}
        assert {"grouped", "low-rank"} <= kinds
        for choice in unit.choices[1:]:
            assert choice.sites[unit.name].placement == "linear"
            assert choice.cost.params < unit.kept.cost.params
            assert choice.cost.bytes == 4 * choice.cost.params
            assert 0 <= choice.error < 1  # type: ignore[operator]
            assert choice.score > 0


def test_plans_keep_their_budgets_and_lose_less_with_more(library: Library) -> None:
    scores = []
    for share in (0.9, 0.7, 0.5, 0.4):
        plan = library.plan_for(f"params={share}")
        assert count_plan(plan).params <= share * library.original.params
        scores.append(library.solve(f"params={share}").score)
        for site in plan.replaced:
            assert site.reason.startswith(f"budget params={share}: {label_of(site.layer)}, error ")
        for site in plan.kept:
            assert site.reason == f"budget params={share}: kept"
    assert scores == sorted(scores)
    both = library.plan_for(Budget.of("macs=0.5, bytes=0.6"))
    assert count_plan(both).macs <= 0.5 * library.original.macs


def test_the_site_that_matters_least_gives_first(library: Library) -> None:
    plan = library.plan_for("params=0.9")
    assert [site.name for site in plan.replaced] == ["third"]


def test_a_plan_is_saved_read_and_carried_out(library: Library, tmp_path: Path) -> None:
    import kswap

    plan = library.plan_for("params=0.5")
    plan.save(tmp_path / "plan.json")
    again = Plan.load(tmp_path / "plan.json")
    assert again.sites == plan.sites
    conversion = kswap.convert(small(), plan=again, example_input=batches()[0].args[0])
    check_counts(conversion.model, plan)
    assert sum(p.numel() for p in conversion.model.parameters()) <= 0.5 * library.original.params
    assert any("by the budget params=0.5" in note for note in again.notes)


def test_the_same_seed_gives_the_same_library_and_the_model_is_unchanged(library: Library) -> None:
    model = small().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    again = library_of(model, *planned(model), batches(), progress=False)
    assert again.units == library.units
    assert all(module.training for module in model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_rules_keep_sites_out_of_the_library() -> None:
    model = small()
    rules = {
        "rule": [{"match": {"name": "second"}, "keep": True, "why": "mine"}, {"match": {"name": "third"}, "ch": 16}]
    }
    made = library_of(model, *planned(model, rules), batches(), scoring="error", progress=False)
    assert [unit.name for unit in made.units] == ["first", "third"]
    plan = made.plan_for("params=0.8")
    assert plan["second"].reason == "mine"


def test_where_rules_keep_everything_nothing_can_be_chosen() -> None:
    model = small()
    plan, _ = planned(model)
    keeping = PlanSettings.of(
        4, "v2", {"rule": [{"match": {"role": ["pointwise", "expansion", "projection"]}, "keep": True}]}
    )
    assert all(decide(keeping.rules, site.site, keeping.block).keep for site in plan.sites)
    assert changeable(plan, keeping) == ()
    with pytest.raises(PlanError, match="nothing to choose from"):
        library_of(model, plan, keeping, batches(), progress=False)


def test_an_unknown_scoring_is_refused() -> None:
    model = small()
    with pytest.raises(PlanError, match="unknown scoring 'errors': known are outputs, error; did you mean error"):
        library_of(model, *planned(model), batches(), scoring="errors")


def test_memory_is_bounded_by_passing_large_networks_in_parts(
    monkeypatch: pytest.MonkeyPatch, library: Library
) -> None:
    model, passes = small(), []
    arguments = planned(model)
    hook = model.register_forward_hook(lambda *_: passes.append(1))
    monkeypatch.setattr("kswap.budgets.block_library._MOST_BYTES", 8 * 48**2)
    parts = library_of(model, *arguments, batches(), scoring="error", progress=False)
    hook.remove()
    assert len(passes) == 3 * len(batches())
    assert [[c.error for c in unit.choices] for unit in parts.units] == [
        [c.error for c in unit.choices] for unit in library.units
    ]


def test_linear_layers_over_tokens_are_units_too() -> None:
    torch.manual_seed(0)
    sizes = (24, 24, 48, 24, 5)
    layers = [layer for pair in itertools.pairwise(sizes) for layer in (nn.Linear(*pair), nn.GELU())]
    model = nn.Sequential(*layers[:-1]).eval()
    call = Call((torch.randn(8, 9, 24),))
    settings = PlanSettings.of(4, "v2", None, linear=True)
    plan = plan_of(model, "mlp", settings, call, run_of(model, "mlp", call, settings.kinds), ())
    made = library_of(model, plan, settings, [call], progress=False)
    assert [unit.name for unit in made.units] == ["2", "4"]
    assert made.shapes == {"2": (1, 9, 24), "4": (1, 9, 48)}
    assert count_plan(made.plan_for("params=0.6")).params <= 0.6 * made.original.params


def test_moments_of_a_layer_are_those_of_its_inputs_and_outputs() -> None:
    model, calls = small(), batches()
    known = layer_inputs(model, ["second"], calls)["second"]
    with torch.no_grad():
        x = torch.cat([F.relu(model.norm(model.first(call.args[0]))) for call in calls])
        y = model.second(x)
    rows = x[:, :, ::2, ::2].movedim(1, -1).flatten(0, -2)
    expected = Moments.of(rows, y.movedim(1, -1).flatten(0, -2))
    assert (known.shape, known.calls) == ((16, 48, 6, 6), 1)
    found = known.moments()
    for name in ("x_mean", "y_mean", "xx", "yx", "yy"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-6)
    assert found.error(known.weight) < 1e-12


def test_a_layer_computes_another_matrix_only_inside() -> None:
    model, calls = small(), batches()
    outputs = OutputChange.of(model, calls, {"second": 1})
    outputs.stop_at("second")
    assert outputs.are_logits
    known = layer_inputs(model, ["second"], calls)["second"]
    assert change_with(outputs, "second", known.weight, known) < 1e-9
    worse, worst = (change_with(outputs, "second", share * known.weight, known) for share in (0.9, 0.0))
    assert 1e-6 < worse < worst
    assert outputs.measure() == 0
    x = torch.randn(4, 48, 6, 6)
    plain = nn.Conv2d(48, 32, 1, stride=2)
    with torch.no_grad():
        plain.weight.copy_(0.5 * known.weight[..., None, None])
        plain.bias.copy_(known.moments().y_mean - 0.5 * known.weight @ known.inputs.x_mean)
        with computing(model.second, 0.5 * known.weight, known.moments()):
            torch.testing.assert_close(model.second(x), plain(x))


def test_outputs_that_are_no_logits_are_compared_by_their_squares() -> None:
    model = nn.Sequential(nn.Conv2d(16, 8, 1, bias=False)).eval()
    calls = batches()
    outputs = OutputChange.of(model, calls, {"0": 1})
    outputs.stop_at("0")
    assert not outputs.are_logits
    known = layer_inputs(model, ["0"], calls)["0"]
    with torch.no_grad():
        whole = sum(float(model(call.args[0]).double().square().sum()) for call in calls)
    centred = float(known.moments().yy.sum()) * known.inputs.count
    assert change_with(outputs, "0", 0 * known.weight, known) == pytest.approx(centred / whole, rel=1e-4)


def test_scores_between_measured_ones_grow_with_the_error() -> None:
    errors = [0.01, 0.05, 0.1, 0.3, 0.6]
    scores = interpolated(errors, [(0.05, 0.02), (0.3, 0.01), (0.5, 0.4)])
    assert list(scores) == sorted(scores)
    assert scores[1] == pytest.approx(0.02)
    assert scores[4] > 0.4
    assert interpolated([0.2], [(0.1, 0.01)]) == pytest.approx((0.02,))
    assert evenly(10) == (0, 4, 9)


def test_options_have_fewer_weights_and_all_kinds_that_there_are() -> None:
    options = options_of(Site("conv", 192, 96))
    assert {option.kind for option in options} == set(BLOCK_KINDS)
    assert len({label_of(option) for option in options}) == len(options)
    assert all(option.weights < option.dense_weights for option in options)
    standardised = options_of(Site("conv", 192, 96, type="StdConv2d", fewest_inputs=9))
    assert all(option.narrowest >= 9 for option in standardised)


def test_measured_times_make_a_latency_budget(library: Library) -> None:
    with pytest.raises(PlanError, match="name a target"):
        library.plan_for("latency=0.7")
    seconds = {unit.name: {choice.label: 0.001 for choice in unit.choices} for unit in library.units}
    with pytest.raises(PlanError, match="the choice 'kept' of 'first' has no measured time"):
        library.with_seconds({**seconds, "first": {}}, 0.01)
    fast = library.units[1].choices[-1].label
    seconds["second"][fast] = 0.0001
    timed = library.with_seconds(seconds, 0.01)
    plan = timed.plan_for("latency=0.92")
    assert label_of(plan["second"].layer) == fast
    assert [site.name for site in plan.replaced] == ["second"]
    scaled = library.with_seconds(seconds, 0.0015)
    assert scaled.units[0].kept.cost.seconds == pytest.approx(0.0005)


def test_units_of_several_sites_bring_plans_for_all_of_them(library: Library) -> None:
    from dataclasses import replace

    first, second, third = library.units
    sites = {
        "first": first.choices[1].sites["first"],
        "second": second.choices[1].sites["second"],
    }
    cost = replace(first.choices[1].cost + second.choices[1].cost, params=10)
    joint = first.joined(second).adding(Choice("together", cost, 0.0, 0.01, sites))
    plan = replace(library, units=(joint, third)).solve("params=0.6")
    assert plan.choices[0].label == "together"
