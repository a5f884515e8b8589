"""Budgets as values, and the knapsack against brute force and against the Lagrangian relaxation."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kswap.errors import PlanError
from kswap.planner.budget import Budget, Cost, Limit
from kswap.planner.choices import Choice, Unit, undominated
from kswap.planner.knapsack import relax, solve
from kswap.planner.narrowing import HiddenChannels, Narrowing
from kswap.planner.schemes import plan_layer
from kswap.planner.site_plan import SitePlan
from kswap.planner.sites import Site


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("params=0.2", [Limit("params", 0.2, True)]),
        ("params=20%", [Limit("params", 0.2, True)]),
        ("params=675k", [Limit("params", 675_000, False)]),
        ("macs=150M, bytes=2.5M", [Limit("macs", 150e6, False), Limit("bytes", 2.5e6, False)]),
        ("bytes=2.5MB", [Limit("bytes", 2.5e6, False)]),
        ("latency=0.7", [Limit("latency", 0.7, True)]),
        ("latency=3.5ms", [Limit("latency", 0.0035, False)]),
        ("params=1_000_000 macs=1", [Limit("params", 1e6, False), Limit("macs", 1.0, True)]),
        ("params = 0.2", [Limit("params", 0.2, True)]),
    ],
)
def test_budgets_are_read_and_shown_again(text: str, expected: list[Limit]) -> None:
    budget = Budget.of(text)
    assert [(limit.quantity, limit.relative) for limit in budget.limits] == [(e.quantity, e.relative) for e in expected]
    assert [limit.value for limit in budget.limits] == pytest.approx([limit.value for limit in expected])
    again = Budget.of(str(budget))
    assert again.quantities == budget.quantities
    assert [limit.value for limit in again.limits] == pytest.approx([limit.value for limit in budget.limits])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0.2", "write one such as params=0.2"),
        ("", "the budget is empty"),
        ("weights=0.2", "cannot limit 'weights': known are params, macs, bytes, latency"),
        ("parms=0.2", "did you mean params"),
        ("params=two", "'two' is not a number of params"),
        ("params=2ms", "is not a number of params"),
        ("params=-1", "is not a number of params"),
        ("params=0", "must be a number above 0"),
        ("params=150%", "a share of the original's, from 0 to 1"),
        ("params=0.2,params=0.3", "limits params twice"),
        ("params=1e400", "is not a number of params"),
    ],
)
def test_what_is_no_budget_is_refused_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(PlanError, match=sentence):
        Budget.of(text)


def test_a_budget_can_be_passed_as_a_value_or_as_several_texts() -> None:
    budget = Budget.of(["params=0.2", "macs=1G"])
    assert Budget.of(budget) is budget
    for wrong in (0.2, [0.2]):
        with pytest.raises(PlanError, match=r"a text such as params=0\.2"):
            Budget.of(wrong)  # type: ignore[arg-type]


def test_the_first_limit_that_is_not_kept_is_named() -> None:
    budget, original = Budget.of("params=0.5, macs=100"), Cost(1000, 1000, 4000)
    assert budget.exceeded_by(Cost(500, 100, 0), original) is None
    assert str(budget.exceeded_by(Cost(501, 100, 0), original)) == "params=0.5"
    assert str(budget.exceeded_by(Cost(500, 101, 0), original)) == "macs=100"


def test_a_latency_without_times_is_refused() -> None:
    unit = Unit("a", (Choice("keep", Cost(1, 1, 1)),))
    with pytest.raises(PlanError, match="name a target"):
        solve([unit], Budget.of("latency=0.7"), Cost(1, 1, 1))


def unit_of(name: str, *rows: tuple[int, int, float]) -> Unit:
    """Choices of (parameters, MACs, score); the first is that to keep."""
    return Unit(name, tuple(Choice(str(i), Cost(p, m, 4 * p), score) for i, (p, m, score) in enumerate(rows)))


numbers = st.integers(0, 40)
rows = st.tuples(numbers, numbers, st.floats(0, 10))
instances = st.lists(st.lists(rows, min_size=1, max_size=5), min_size=1, max_size=5)


def best_by_force(units: list[Unit], budget: Budget, original: Cost) -> float | None:
    """The least score of all combinations that keep the budget."""
    scores = []
    for combination in itertools.product(*(unit.choices for unit in units)):
        cost = original
        params = original.params + sum(
            c.cost.params - u.kept.cost.params for u, c in zip(units, combination, strict=True)
        )
        macs = original.macs + sum(c.cost.macs - u.kept.cost.macs for u, c in zip(units, combination, strict=True))
        cost = Cost(params, macs, 4 * params)
        if budget.exceeded_by(cost, original) is None:
            scores.append(sum(choice.score for choice in combination))
    return min(scores, default=None)


@settings(deadline=None, max_examples=80)
@given(instances, st.integers(0, 30), st.lists(st.integers(1, 200), min_size=1, max_size=2))
def test_the_knapsack_finds_what_brute_force_finds(tables: list[list[tuple]], rest: int, most: list[int]) -> None:
    units = [unit_of(str(number), *table) for number, table in enumerate(tables)]
    kept = [unit.kept.cost for unit in units]
    original = Cost(
        rest + sum(c.params for c in kept), rest + sum(c.macs for c in kept), 4 * sum(c.params for c in kept)
    )
    limits = [Limit(name, float(value) + 1, False) for name, value in zip(("params", "macs"), most, strict=False)]
    budget = Budget(tuple(limits))
    expected = best_by_force(units, budget, original)
    if expected is None:
        with pytest.raises(PlanError, match="no choice of blocks"):
            solve(units, budget, original)
        return
    solution = solve(units, budget, original)
    assert budget.exceeded_by(solution.cost, original) is None
    assert solution.score == pytest.approx(expected, abs=1e-9)


def random_units(count: int, seed: int) -> list[Unit]:
    """Sites of a network: costs from hundreds to millions, scores that grow as the cost falls."""
    draw = random.Random(seed)
    units = []
    for number in range(count):
        params, positions = int(10 ** draw.uniform(3, 6)), draw.choice([9, 49, 196, 784])
        harm = 10 ** draw.uniform(-3, 1)
        shares = sorted((draw.uniform(0.02, 0.9) for _ in range(12)), reverse=True)
        rows = [(params, params * positions, 0.0)]
        rows += [
            (int(params * s), int(params * s) * positions, harm * (1 - s) ** 2 * draw.uniform(0.5, 2)) for s in shares
        ]
        units.append(unit_of(str(number), *rows))
    return units


@pytest.mark.parametrize("text", ["params=0.2", "macs=0.3", "params=0.3, macs=0.3", "params=0.25, macs=0.5, bytes=0.9"])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_knapsack_equals_or_beats_the_relaxation_within_the_budget(text: str, seed: int) -> None:
    units, budget = random_units(24, seed), Budget.of(text)
    kept = [unit.kept.cost for unit in units]
    original = Cost(50_000, 1_000_000, 200_000)
    for cost in kept:
        original = original + cost
    found, baseline = solve(units, budget, original), relax(units, budget, original)
    for solution in (found, baseline):
        assert budget.exceeded_by(solution.cost, original) is None
    assert found.score <= baseline.score


def test_the_knapsack_finds_better_choices_than_the_relaxation() -> None:
    budget, gains = Budget.of("params=0.3"), []
    for seed in range(8):
        units = random_units(12, seed)
        original = Cost(0, 0, 0)
        for unit in units:
            original = original + unit.kept.cost
        gains.append(relax(units, budget, original).score - solve(units, budget, original).score)
    assert min(gains) >= 0
    assert max(gains) > 0


def test_a_budget_out_of_reach_names_the_smallest_that_is_not() -> None:
    units = [unit_of("a", (600, 600, 0), (100, 300, 1)), unit_of("b", (300, 300, 0), (50, 10, 1))]
    original = Cost(1000, 1000, 4000)
    with pytest.raises(PlanError, match=r"params=0\.2: the smallest that can be reached is 250 parameters, 25\.0% of"):
        solve(units, Budget.of("params=0.2"), original)
    with pytest.raises(PlanError, match="smallest that can be reached is 410 MACs"):
        solve(units, Budget.of("params=0.9 macs=100"), original)


def test_a_budget_with_room_for_everything_keeps_everything() -> None:
    units = random_units(10, 3)
    original = Cost(10**9, 10**12, 4 * 10**9)
    assert [choice.label for choice in solve(units, Budget.of("params=1"), original).choices] == ["0"] * 10


def test_limited_times_are_summed_over_units() -> None:
    fast = Choice("fast", Cost(9, 9, 9, 0.001), score=1.0)
    slow = Choice("slow", Cost(2, 2, 2, 0.004), score=0.5)
    unit = Unit("a", (Choice("keep", Cost(9, 9, 9, 0.003)), fast, slow))
    original = Cost(20, 20, 20, 0.010)
    solution = solve([unit], Budget.of("latency=0.85"), original)
    assert solution.choices == (fast,)
    assert solution.cost.seconds == pytest.approx(0.008)
    assert solve([unit], Budget.of("params=14"), original).choices == (slow,)


def site(name: str, channels: int = 64) -> SitePlan:
    layer = plan_layer(channels, channels, ch=8)
    return SitePlan(Site(name, channels, channels), layer, "replace", layer.reason, "linear")


def test_choices_that_span_sites_bring_plans_and_narrowings_of_several_layers() -> None:
    first = unit_of("expand", (100, 100, 0.0), (50, 50, 1.0))
    second = unit_of("project", (80, 80, 0.0), (60, 60, 2.0), (60, 60, 3.0))
    both = first.joined(second)
    assert [(c.cost.params, c.score) for c in both.choices] == [(180, 0.0), (130, 1.0), (110, 3.0)]
    narrowing = Narrowing(HiddenChannels("a", "b", 64), 32)
    narrower = Choice(
        "narrower 4", Cost(40, 40, 160), 0.5, sites={"a": site("a"), "b": site("b")}, narrowings=(narrowing,)
    )
    whole = Cost(200, 200, 800)
    solution = solve([both.adding(narrower)], Budget.of("params=0.5"), whole)
    assert solution.choices == (narrower,)
    assert solution.cost.params == 60
    assert (narrower & second.choices[1]).narrowings == (narrowing,)


def test_dominated_choices_are_dropped_but_the_first() -> None:
    keep = Choice("keep", Cost(10, 10, 10), 5.0)
    better, same = Choice("better", Cost(10, 10, 10), 1.0), Choice("same", Cost(10, 10, 10), 1.0)
    assert undominated((keep, better, same)) == (keep, better)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Choice("", Cost(1, 1, 1)), "needs a label"),
        (lambda: Choice("a", Cost(1, 1, 1), float("nan")), "score of 'a'"),
        (lambda: Choice("a", Cost(1, 1, 1), sites={"b": site("a")}), "plan of 'a' under the name 'b'"),
        (lambda: Unit("u", ()), "nothing to choose from"),
        (lambda: unit_of("u", (1, 1, 0)).adding(Choice("0", Cost(1, 1, 1))), "same label"),
        (lambda: Unit("u", (Choice("a", Cost(1, 1, 1), sites={"a": site("a")}),)), "must leave it as it is"),
        (lambda: Cost(-1, 0, 0), "are not negative"),
    ],
)
def test_values_of_a_budget_check_themselves(make: object, sentence: str) -> None:
    with pytest.raises(PlanError, match=sentence):
        make()  # type: ignore[operator]
