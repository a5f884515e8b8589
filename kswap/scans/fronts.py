"""Which networks of a scan are worth having: none other is as good in both of two quantities and better in one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Quantity:
    """Something that is read off a row: its key in JSON, the letter that marks its front, its words, its direction."""

    key: str
    mark: str
    words: str
    more_is_better: bool = False


PARAMS = Quantity("params", "P", "parameters")
MACS = Quantity("macs", "M", "MACs")
TIME = Quantity("time", "T", "time of a pass, share of the original's")
MILLISECONDS = Quantity("ms", "T", "milliseconds of a pass")
ACCURACY = Quantity("accuracy", "A", "accuracy", more_is_better=True)
QUANTITIES = {quantity.key: quantity for quantity in (PARAMS, MACS, TIME, MILLISECONDS, ACCURACY)}


def pairs_of(timed: bool, trained: bool) -> tuple[tuple[Quantity, Quantity], ...]:
    """What is held against what, by what was measured."""
    if trained:
        costs = (PARAMS, MACS, MILLISECONDS) if timed else (PARAMS, MACS)
        return tuple((cost, ACCURACY) for cost in costs)
    return ((PARAMS, TIME), (MACS, TIME)) if timed else ((PARAMS, MACS),)


def front_of(points: Mapping[T, tuple[float, float]], more_is_better: bool = False) -> tuple[T, ...]:
    """The points that no other one dominates, from the least first coordinate to the greatest.

    Less is better in the first coordinate, and in the second unless ``more_is_better``. Equal points are all there.

    >>> front_of({"small": (1, 0.7), "large": (9, 0.9), "bad": (5, 0.6)}, more_is_better=True)
    ('small', 'large')
    """
    sign = -1 if more_is_better else 1
    ordered = sorted(points, key=lambda name: (points[name][0], sign * points[name][1]))
    found: list[T] = []
    for name in ordered:
        if not found or sign * points[name][1] < sign * points[found[-1]][1] or points[name] == points[found[-1]]:
            found.append(name)
    return tuple(found)
