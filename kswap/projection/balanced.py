"""Rows assigned to groups of fixed sizes, so that the sum of their values is as large as can be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Groups = NDArray[np.intp]

# Gains below this part of the largest value are rounding.
_ROUNDING = 1e-12


def improved(values: Values, own: Groups) -> Groups:
    """An assignment with the same group sizes, whose sum of values is the largest there is.

    Starts from a given assignment and only ever makes exchanges that gain something, so the sum never falls. Two groups
    exchange their rows where both together gain; where no pair does, rows move on along a cycle of groups. An
    assignment without a gaining cycle is optimal (cycle cancelling, as for minimum-cost flows: Klein 1967).

    Args:
        values: ``(rows, groups)``, what a row is worth in each group.
        own: the group of each row.

    >>> values = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 2.0], [2.0, 0.0, 1.0]])
    >>> improved(values, np.array([0, 1, 2])).tolist()
    [1, 2, 0]
    """
    own = own.copy()
    moves = _Moves(values, own)
    least = _ROUNDING * max(float(np.abs(values).max(initial=0.0)), 1e-300)
    while True:
        cycles = _pairs(moves.gains, least) or _longer_cycle(moves.gains, least)
        if not cycles:
            return own
        for cycle in cycles:
            rows = [moves.rows[g, h] for g, h in zip(cycle, cycle[1:] + cycle[:1], strict=True)]
            for row, group in zip(rows, cycle[1:] + cycle[:1], strict=True):
                own[row] = group
        moves.update_({group for cycle in cycles for group in cycle})


class _Moves:
    """For each pair of groups the row whose move from the first to the second gains most, and what it gains."""

    def __init__(self, values: Values, own: Groups) -> None:
        groups = values.shape[1]
        self._values, self._own = values, own
        self.gains = np.full((groups, groups), -np.inf)
        self.rows = np.zeros((groups, groups), dtype=np.intp)
        self.update_(set(range(groups)))

    def update_(self, changed: set[int]) -> None:
        """Look again at the rows of these groups."""
        for group in changed:
            rows = np.flatnonzero(self._own == group)
            if len(rows):
                gains = self._values[rows] - self._values[rows, group][:, None]
                best = gains.argmax(0)
                self.gains[group], self.rows[group] = gains[best, np.arange(gains.shape[1])], rows[best]
            self.gains[group, group] = -np.inf


def _pairs(gains: Values, least: float) -> list[list[int]]:
    """Pairs of groups that gain by exchanging one row each, the best first; no group is in two pairs."""
    both = np.triu(gains + gains.T, 1)
    first, second = np.nonzero(both > least)
    found: list[list[int]] = []
    used = set[int]()
    for place in np.argsort(-both[first, second], kind="stable"):
        pair = [int(first[place]), int(second[place])]
        if used.isdisjoint(pair):
            found.append(pair)
            used.update(pair)
    return found


def _longer_cycle(gains: Values, least: float) -> list[list[int]]:
    """A cycle of groups along which rows move with a gain, found as a growing longest path (Bellman and Ford)."""
    groups = len(gains)
    sums, before = np.zeros(groups), np.full(groups, -1)
    for _ in range(groups):
        reached = sums[:, None] + gains
        best = reached.argmax(0)
        longer = reached[best, np.arange(groups)]
        grew = longer > sums + least
        if not grew.any():
            return []
        sums, before = np.where(grew, longer, sums), np.where(grew, best, before)
        cycle = _cycle_in(before)
        if cycle and sum(gains[g, h] for g, h in zip(cycle, cycle[1:] + cycle[:1], strict=True)) > least:
            return [cycle]
    return []


def _cycle_in(before: NDArray[np.intp]) -> list[int]:
    """A cycle of the graph in which each group has at most one group before it, in the direction of the moves."""
    seen = np.zeros(len(before), dtype=np.intp)
    for start in range(len(before)):
        group, path = start, list[int]()
        while group >= 0 and not seen[group]:
            seen[group] = start + 1
            path.append(group)
            group = int(before[group])
        if group >= 0 and seen[group] == start + 1:
            return path[path.index(group) :][::-1]
    return []
