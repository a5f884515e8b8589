"""One choice of each unit, with the least damage that a budget allows: a multiple-choice knapsack.

Solved by dynamic programming over buckets of cost, as in SPDY (Frantar and Alistarh, ICML 2022, arXiv:2201.13096). A
state is one choice for each of the units so far, with its exact costs and its score; of the states whose costs round
up to the same buckets only the best stays. Costs are summed exactly, so that nothing ever exceeds the budget and no
rounding adds up. The Lagrangian relaxation of the same problem gives a first solution, and a bound by which most
states can be dropped: where fewer than a bucket holds are left, the result is the optimum.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kswap.errors import PlanError
from kswap.planner.budget import Budget, Cost, Limit
from kswap.planner.choices import Choice, Unit, undominated

_MOST_STATES = 20_000
_STEPS = 200

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Solution:
    """The choice that was taken for each unit, in their order; ``cost`` is that of the whole model."""

    choices: tuple[Choice, ...]
    cost: Cost

    @property
    def score(self) -> float:
        """The sum of the scores."""
        return float(sum(choice.score for choice in self.choices))


@dataclass(frozen=True)
class _Problem:
    """Choices as arrays: ``costs[unit]`` is ``(choices, limits)`` in shares of what the budget leaves for the units.

    ``room`` is ``(limits,)``: what may be spent beyond the cheapest choice of every unit.
    """

    units: tuple[tuple[Choice, ...], ...]
    costs: tuple[Floats, ...]
    scores: tuple[Floats, ...]
    room: Floats

    @classmethod
    def of(cls, units: Sequence[Unit], budget: Budget, original: Cost) -> _Problem:
        choices = tuple(undominated(unit.choices, budget.quantities) for unit in units)
        check_reach(units, budget.limits, original)
        room = np.array([limit.most(original) - original.of(limit.quantity) for limit in budget.limits])
        costs = []
        for unit, own in zip(units, choices, strict=True):
            table = np.array([[choice.cost.of(quantity) for quantity in budget.quantities] for choice in own])
            least = table.min(0)
            room += np.array([unit.kept.cost.of(quantity) for quantity in budget.quantities]) - least
            costs.append(table - least)
        scores = tuple(np.array([choice.score for choice in own]) for own in choices)
        return cls(choices, tuple(costs), scores, np.maximum(room, 0.0))  # sums of seconds are rounded

    def spent(self, picks: Integers) -> Floats:
        """What the choices with these indices cost beyond the cheapest ones."""
        total = np.zeros_like(self.room)
        for table, pick in zip(self.costs, picks, strict=True):
            total = total + table[pick]
        return total

    def score(self, picks: Integers) -> float:
        return float(sum(table[pick] for table, pick in zip(self.scores, picks, strict=True)))


def check_reach(units: Sequence[Unit], limits: Iterable[Limit], original: Cost) -> None:
    """Refuse a limit that even the cheapest choice of every unit exceeds; scores do not count.

    Raises :class:`PlanError` with the smallest number that can be reached.

    >>> keep, half = Choice("keep", Cost(8, 8, 8)), Choice("half", Cost(4, 4, 4))
    >>> check_reach([Unit("a", (keep, half))], [Limit.parse("params=0.5")], Cost(16, 16, 16))
    Traceback (most recent call last):
    kswap.errors.PlanError: no choice of blocks keeps the budget params=0.5: the smallest that can be reached is 12 ...
    """
    for limit in limits:
        whole = original.of(limit.quantity)
        saved = sum(
            unit.kept.cost.of(limit.quantity) - min(choice.cost.of(limit.quantity) for choice in unit.choices)
            for unit in units
        )
        if whole - saved > limit.most(original):
            raise PlanError(
                f"no choice of blocks keeps the budget {limit}: the smallest that can be reached is "
                f"{limit.shown(whole - saved)}, {(whole - saved) / whole:.1%} of the original"
            )


def solve(units: Sequence[Unit], budget: Budget, original: Cost) -> Solution:
    """The choices with the least sum of scores among those that keep all limits of ``budget``.

    Args:
        units: what can be chosen; parts of the model that are in no unit stay as they are.
        budget: one or more limits for the whole model.
        original: what the whole original costs. Its latency includes that of the units.

    Raises :class:`PlanError` where no choice keeps the budget, with the smallest number that can be reached.

    >>> keep, half = Choice("keep", Cost(8, 8, 8)), Choice("half", Cost(4, 4, 4), score=0.5)
    >>> cheap = Choice("half", Cost(4, 4, 4), score=0.1)
    >>> solution = solve([Unit("a", (keep, half)), Unit("b", (keep, cheap))], Budget.of("params=0.8"), Cost(16, 16, 16))
    >>> [choice.label for choice in solution.choices], solution.cost.params
    (['keep', 'half'], 12)
    """
    problem = _Problem.of(units, budget, original)
    prices, first = _relaxed(problem)
    picks = _programmed(problem, prices, first)
    if picks is None:
        raise PlanError(f"no choice of blocks was found that keeps all of {budget}: allow more of one of them")
    return _solution(problem, units, picks, original)


def relax(units: Sequence[Unit], budget: Budget, original: Cost) -> Solution:
    """The best solution that the Lagrangian relaxation finds: the baseline that :func:`solve` equals or beats.

    Every limit has a price, and each unit takes the choice with the least score plus price times cost. Raises
    :class:`PlanError` as :func:`solve` does.
    """
    problem = _Problem.of(units, budget, original)
    _, picks = _relaxed(problem)
    if picks is None:
        raise PlanError(f"no choice of blocks was found that keeps all of {budget}: allow more of one of them")
    return _solution(problem, units, picks, original)


def _solution(problem: _Problem, units: Sequence[Unit], picks: Integers, original: Cost) -> Solution:
    taken = tuple(own[pick] for own, pick in zip(problem.units, picks, strict=True))
    timed = original.seconds is not None and all(choice.cost.seconds is not None for choice in taken)
    pairs = [(unit.kept.cost, choice.cost) for unit, choice in zip(units, taken, strict=True)]
    cost = Cost(
        original.params + sum(new.params - old.params for old, new in pairs),
        original.macs + sum(new.macs - old.macs for old, new in pairs),
        original.bytes + sum(new.bytes - old.bytes for old, new in pairs),
        original.of("latency") + sum(new.of("latency") - old.of("latency") for old, new in pairs) if timed else None,
    )
    return Solution(taken, cost)


def _relaxed(problem: _Problem) -> tuple[Floats, Integers | None]:
    """Prices for which the dual bound is highest, by ascent one price at a time, and the best picks seen on the way.

    The dual, the sum over units of min(score + price x cost), less price x room, is concave in the prices.
    """
    prices = np.zeros(len(problem.room))
    scale = np.maximum(problem.room, np.finfo(float).tiny)
    best: Integers | None = None
    for _ in range(1 if len(prices) == 1 else 4):
        for axis in range(len(prices)):
            low, high = 0.0, None
            for _ in range(_STEPS):
                prices[axis] = (low + high) / 2 if high is not None else max(2 * low, 1e-9 / scale[axis])
                if not np.isfinite(prices[axis]) or (high is not None and high - low <= 1e-12 * high):
                    break
                picks = _cheapest(problem, prices)
                spent = problem.spent(picks)
                if (spent <= problem.room).all() and (best is None or problem.score(picks) < problem.score(best)):
                    best = picks
                if spent[axis] > problem.room[axis]:
                    low = prices[axis]
                else:
                    high = prices[axis]
            prices[axis] = high if high is not None else low
    unpriced = _cheapest(problem, np.zeros_like(prices))
    if (problem.spent(unpriced) <= problem.room).all():
        return np.zeros_like(prices), unpriced
    return prices, best


def _cheapest(problem: _Problem, prices: Floats) -> Integers:
    """The choice of each unit with the least score plus price times cost; of equals the cheapest."""
    return np.array(
        [
            np.lexsort((cost.sum(1), score + cost @ prices))[0]
            for cost, score in zip(problem.costs, problem.scores, strict=True)
        ]
    )


def _programmed(problem: _Problem, prices: Floats, first: Integers | None) -> Integers | None:
    """The best picks that dynamic programming finds, or ``first`` where those are as good."""
    best = np.inf if first is None else problem.score(first)
    # What the units that are still to come add at least to score + price x cost.
    reduced = [(score + cost @ prices).min() for cost, score in zip(problem.costs, problem.scores, strict=True)]
    to_come = np.append(np.cumsum(reduced[::-1])[::-1], 0.0)[1:]
    costs, scores = np.zeros((1, len(problem.room))), np.zeros(1)
    parents: list[tuple[Integers, Integers]] = []
    for own_cost, own_score, rest in zip(problem.costs, problem.scores, to_come, strict=True):
        origin = np.repeat(np.arange(len(scores)), len(own_score))
        pick = np.tile(np.arange(len(own_score)), len(scores))
        new_costs, new_scores = costs[origin] + own_cost[pick], scores[origin] + own_score[pick]
        bound = new_scores + new_costs @ prices + rest - problem.room @ prices
        alive = (new_costs <= problem.room).all(1) & (bound < best)
        kept = _best_of_buckets(new_costs[alive], new_scores[alive], problem.room)
        origin, pick = origin[alive][kept], pick[alive][kept]
        if not len(kept):
            return first
        parents.append((origin, pick))
        costs, scores = new_costs[alive][kept], new_scores[alive][kept]
    state = int(scores.argmin())
    if scores[state] >= best:
        return first
    picks = np.empty(len(parents), dtype=np.int64)
    for unit in range(len(parents) - 1, -1, -1):
        origin, pick = parents[unit]
        picks[unit], state = pick[state], origin[state]
    return picks


def _best_of_buckets(costs: Floats, scores: Floats, room: Floats) -> Integers:
    """Indices of the states that stay: all that are not dominated if they are few, else the best of each bucket."""
    kept = np.lexsort((scores, *costs.T[::-1]))
    if costs.shape[1] == 1 and len(kept):
        # In the order of their cost, only states with a score below that of every cheaper one.
        lowest = np.minimum.accumulate(scores[kept])
        kept = kept[np.append(True, scores[kept][1:] < lowest[:-1])]
    if len(kept) <= _MOST_STATES:
        return kept
    buckets = int(_MOST_STATES ** (1 / len(room)))
    cells = np.ceil(costs[kept] / np.where(room > 0, room, 1.0) * buckets).astype(np.int64)
    order = np.lexsort((scores[kept], *cells.T))
    first = np.append(True, (cells[order][1:] != cells[order][:-1]).any(1))
    stay: Integers = kept[order[first]]
    return stay
