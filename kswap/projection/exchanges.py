"""Inputs exchanged between the groups of a grouped layer, where that is known to lower the objective."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from kswap.projection.assignment import Assignment
from kswap.projection.objective import Objective

# Changes that gain less than this, of the variance of the outputs, are rounding.
_ROUNDING = 1e-10

# What a change gains, its places as (group, place in the group), and the inputs that are read there then.
_Change = tuple[float, list[tuple[int, int]], list[int]]


def gains_of_reading(objective: Objective, reads: Tensor, outputs: Tensor) -> Tensor:
    """What a group explains more if one of its places reads another input, ``(group_width, Ic)``, at the best weights.

    It is exact: leaving out an input and taking in another are one step of Gaussian elimination each. Inputs that the
    group reads already have ``-inf``.
    """
    metric, target = objective.metric, objective.target[outputs]
    inverse = torch.linalg.inv(metric[reads[:, None], reads])
    weights = target[:, reads] @ inverse
    across = inverse @ metric[reads]  # how the inputs of the group predict all inputs
    left_target = target - weights @ metric[reads]
    left_variance = metric.diagonal() - (metric[reads] * across).sum(0)
    # What is left of outputs and inputs once a place is empty: the place's own direction is free again.
    alone = inverse.diagonal()[:, None]
    squares = (weights * weights).sum(0)[:, None]
    free = across / alone
    squared = (left_target * left_target).sum(0) + (2 * (weights.T @ left_target) + squares * free) * free
    gains: Tensor = squared / (left_variance + across * free).clamp_min(1e-300) - squares / alone
    gains[:, reads] = -torch.inf
    return gains


class InputExchange:
    """Improves the inputs of the groups round by round.

    In a round every group takes part in at most one change: two groups exchange an input, or a group that reads an
    input which another group reads too reads something else instead. What the round gains is then exact.
    """

    def __init__(self, objective: Objective, assignment: Assignment) -> None:
        self._objective = objective
        self.assignment = assignment
        groups, width = assignment.reads.shape
        # (group, place, input): what the group explains more when the place reads that input.
        self._gains = torch.empty(groups, width, len(objective.metric), dtype=torch.float64)
        self._look_again_(range(groups))

    def _look_again_(self, groups: Iterable[int]) -> None:
        for group in groups:
            outputs = self.assignment.outputs_of(group)
            self._gains[group] = gains_of_reading(self._objective, self.assignment.reads[group], outputs)

    def set_makers_(self, makers: Tensor) -> None:
        """Assign the outputs otherwise."""
        old, self.assignment = self.assignment.makers, Assignment(self.assignment.reads, makers)
        moved = old != makers
        self._look_again_({*old[moved].tolist(), *makers[moved].tolist()})

    def round_(self) -> float:
        """One round of changes. Returns by how much the objective falls; 0 where nothing gains."""
        reads = self.assignment.reads.clone()
        counts = torch.bincount(reads.flatten(), minlength=self._gains.shape[2])
        least, gained, changed = _ROUNDING * self._objective.scale, 0.0, set[int]()
        changes = [*self._exchanges(least), *self._replacements(counts, least)]
        for gain, places, inputs in sorted(changes, key=lambda change: -change[0]):
            if not changed.isdisjoint(group for group, _ in places):
                continue
            if len(places) == 1 and counts[reads[places[0]]] < 2:  # another group has given it up in this round
                continue
            for place, channel in zip(places, inputs, strict=True):
                counts[reads[place]] -= 1
                counts[channel] += 1
                reads[place] = channel
            changed.update(group for group, _ in places)
            gained += gain
        self.assignment = Assignment(reads, self.assignment.makers)
        self._look_again_(changed)
        return gained / self._objective.scale

    def _exchanges(self, least: float) -> list[_Change]:
        """The best exchange of one input for each pair of groups, where it gains more than ``least``."""
        reads = self.assignment.reads
        groups, width = reads.shape
        ours = self._gains.flatten(0, 1)[:, reads.flatten()]  # what each place gains from the input of each other
        both = (ours + ours.T).reshape(groups, width, -1).amax(1).reshape(groups, groups, width)
        best = both.amax(2)
        first, second = torch.nonzero(best.triu(1) > least, as_tuple=True)
        found = []
        for g, h in zip(first.tolist(), second.tolist(), strict=True):
            q = int(both[g, h].argmax())
            p = int((self._gains[g, :, reads[h, q]] + self._gains[h, q, reads[g]]).argmax())
            found.append((float(best[g, h]), [(g, p), (h, q)], [int(reads[h, q]), int(reads[g, p])]))
        return found

    def _replacements(self, counts: Tensor, least: float) -> list[_Change]:
        """For each group the best other input in the place of one that is read elsewhere too, where that gains."""
        channels = len(counts)
        if self.assignment.reads.numel() == channels:
            return []
        repeated = counts[self.assignment.reads] > 1
        best = torch.where(repeated[..., None], self._gains, -torch.inf).flatten(1).max(1)
        return [
            (float(best.values[g]), [(g, int(best.indices[g]) // channels)], [int(best.indices[g]) % channels])
            for g in torch.nonzero(best.values > least).flatten().tolist()
        ]
