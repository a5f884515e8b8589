"""What a budget chooses from: units of a model, each with choices of which exactly one is taken."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from kswap.errors import PlanError
from kswap.planner.budget import Cost
from kswap.planner.narrowing import Narrowing
from kswap.planner.site_plan import SitePlan


@dataclass(frozen=True)
class Choice:
    """One thing that may become of a unit.

    ``sites`` says what becomes of one or more sites, by their names; sites of the unit that it does not name are
    kept. ``narrowings`` are made to the original network as well, and ``sites`` have the channels that these leave.
    ``cost`` is that of all that the unit stands for, ``score`` the damage that the choice does by itself (0 for none),
    ``error`` the relative error of its fit, or ``None`` where it has none.

    >>> Choice("keep", Cost(params=64, macs=640, bytes=256)).score
    0.0
    """

    label: str
    cost: Cost
    score: float = 0.0
    error: float | None = None
    sites: Mapping[str, SitePlan] = field(default_factory=dict)
    narrowings: tuple[Narrowing, ...] = ()

    def __post_init__(self) -> None:
        if not self.label:
            raise PlanError("a choice needs a label")
        if not math.isfinite(self.score) or self.score < 0:
            raise PlanError(f"the score of '{self.label}' must be a finite number that is not negative")
        wrong = next((name for name, plan in self.sites.items() if plan.name != name), None)
        if wrong is not None:
            raise PlanError(f"'{self.label}' has the plan of '{self.sites[wrong].name}' under the name '{wrong}'")

    def __and__(self, other: Choice) -> Choice:
        """Both at once, for two units that become one: costs and scores are added."""
        errors = [one.error for one in (self, other) if one.error is not None]
        return Choice(
            f"{self.label} and {other.label}",
            self.cost + other.cost,
            self.score + other.score,
            max(errors, default=None),
            {**self.sites, **other.sites},
            (*self.narrowings, *other.narrowings),
        )


@dataclass(frozen=True)
class Unit:
    """A part of a model for which exactly one of ``choices`` is taken; the first one leaves it as it is.

    Mostly a single site. A kind of block that changes several layers at once makes one unit of their sites with
    :meth:`joined`, and adds choices that name all of them, with narrowings of the network between them.
    """

    name: str
    choices: tuple[Choice, ...]

    def __post_init__(self) -> None:
        if not self.choices:
            raise PlanError(f"'{self.name}' has nothing to choose from")
        labels = [choice.label for choice in self.choices]
        if len(set(labels)) < len(labels):
            raise PlanError(f"two choices of '{self.name}' have the same label")
        if any(plan.replaced for plan in self.choices[0].sites.values()) or self.choices[0].narrowings:
            raise PlanError(f"the first choice of '{self.name}' must leave it as it is")

    @property
    def kept(self) -> Choice:
        """The choice that leaves the unit as it is."""
        return self.choices[0]

    def adding(self, *choices: Choice) -> Unit:
        """The same unit with more to choose from.

        >>> Unit("conv", (Choice("keep", Cost(9, 9, 9)),)).adding(Choice("low-rank 1", Cost(6, 6, 6), 0.1)).name
        'conv'
        """
        return replace(self, choices=(*self.choices, *choices))

    def joined(self, other: Unit) -> Unit:
        """One unit in the place of two: every pair of choices that no other pair is at least as good as.

        >>> keep, half = Choice("keep", Cost(8, 8, 8)), Choice("half", Cost(4, 4, 4), score=0.5)
        >>> [c.label for c in Unit("a", (keep, half)).joined(Unit("b", (keep, half))).choices]
        ['keep and keep', 'keep and half', 'half and half']
        """
        pairs = tuple(mine & theirs for mine in self.choices for theirs in other.choices)
        return Unit(f"{self.name} + {other.name}", undominated(pairs))


def undominated(choices: tuple[Choice, ...], quantities: tuple[str, ...] | None = None) -> tuple[Choice, ...]:
    """The choices that no other one equals or beats in score and in every quantity; of equals the first stays.

    Without ``quantities`` all that was measured count. The first choice always stays.
    """
    if quantities is None:
        timed = all(choice.cost.seconds is not None for choice in choices)
        quantities = ("params", "macs", "bytes", "latency")[: 4 if timed else 3]
    values = [(choice.score, *(choice.cost.of(quantity) for quantity in quantities)) for choice in choices]
    stay: list[int] = []
    for index in sorted(range(len(choices)), key=lambda i: (values[i], i)):
        if not any(all(a <= b for a, b in zip(values[other], values[index], strict=True)) for other in stay):
            stay.append(index)
    return tuple(choice for index, choice in enumerate(choices) if index in stay or index == 0)
