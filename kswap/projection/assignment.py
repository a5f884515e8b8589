"""Which inputs each group of a grouped layer reads and which outputs it makes: how good that is, and what is better."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from kswap.projection.balanced import improved

# Exchanges that gain less than this part of what is to be explained are rounding.
_ROUNDING = 1e-10


@dataclass(frozen=True)
class Problem:
    """Second moments of inputs, ``xx`` ``(Ic, Ic)``, positive definite, and of outputs with inputs, ``yx`` ``(F, Ic)``.

    ``total`` is the variance of all outputs, of which a linear map explains a part.
    """

    xx: Tensor
    yx: Tensor
    total: float

    @cached_property
    def strength(self) -> Tensor:
        """What each weight of the best dense map would explain if the inputs were independent, ``(F, Ic)``."""
        dense = torch.linalg.solve(self.xx, self.yx.T).T
        return dense * dense * self.xx.diagonal()


@dataclass(frozen=True)
class Assignment:
    """``reads`` ``(groups, group_width)`` are the inputs of each group, ``makers`` ``(F,)`` the group of each output.

    Each input is read at least once, and by a group at most once.
    """

    reads: Tensor
    makers: Tensor

    def outputs_of(self, group: int) -> Tensor:
        """The outputs that a group makes, in ascending order."""
        return torch.nonzero(self.makers == group).flatten()


def with_inputs_by_weight(problem: Problem, assignment: Assignment) -> Assignment:
    """The best balanced assignment of the inputs to these groups of outputs, if the inputs were independent.

    An input is worth in a group what its weights in the dense map explain of the group's outputs. The objective may
    rise, but another place to improve from is reached. Places of inputs that are read twice are filled last.
    """
    groups, width = assignment.reads.shape
    values = torch.stack([problem.strength[assignment.makers == group].sum(0) for group in range(groups)], 1)
    own = torch.full((len(values),), -1)
    for group, reads in enumerate(assignment.reads.tolist()):
        for channel in reads:
            if own[channel] < 0:
                own[channel] = group
    own = torch.from_numpy(improved(values.numpy(), own.numpy()))
    reads = torch.empty_like(assignment.reads)
    for group in range(groups):
        members = torch.nonzero(own == group).flatten()
        others = values[:, group].index_fill(0, members, -torch.inf).argsort(descending=True, stable=True)
        reads[group] = torch.cat([members, others[: width - len(members)]])
    return Assignment(reads, assignment.makers)


def weights_of(problem: Problem, reads: Tensor, outputs: Tensor) -> Tensor:
    """The best weights ``(outputs, reads)`` of one group."""
    own = problem.xx[reads[:, None], reads]
    weights: Tensor = torch.linalg.solve(own, problem.yx[outputs[:, None], reads].T).T
    return weights


def explained(problem: Problem, reads: Tensor) -> Tensor:
    """What each group would explain of each output, ``(F, groups)``, at its best weights."""
    everything = torch.arange(len(problem.yx))
    columns = [(weights_of(problem, own, everything) * problem.yx[:, own]).sum(1) for own in reads]
    return torch.stack(columns, 1)


def error(problem: Problem, assignment: Assignment) -> float:
    """The part of the total that the groups leave unexplained at their best weights."""
    if problem.total <= 0:
        return 0.0
    found = explained(problem, assignment.reads).gather(1, assignment.makers[:, None])
    return max(1 - float(found.sum()) / problem.total, 0.0)


def with_best_outputs(problem: Problem, assignment: Assignment) -> Assignment:
    """The best balanced assignment of the outputs to these groups of inputs."""
    values = explained(problem, assignment.reads).numpy()
    return Assignment(assignment.reads, torch.from_numpy(improved(values, assignment.makers.numpy())))


def gains_of_reading(problem: Problem, reads: Tensor, outputs: Tensor) -> Tensor:
    """What a group gains if one of its places reads another input, ``(group_width, Ic)``, at the best weights.

    It is exact: leaving out an input and taking in another are both one step of Gaussian elimination. Inputs that the
    group reads already have ``-inf``.
    """
    own, yx = problem.xx[reads[:, None], reads], problem.yx[outputs]
    inverse = torch.linalg.inv(own)
    weights = yx[:, reads] @ inverse
    across = inverse @ problem.xx[reads]  # how the inputs of the group predict all inputs
    left_yx = yx - weights @ problem.xx[reads]
    left_xx = problem.xx.diagonal() - (problem.xx[reads] * across).sum(0)
    # What is left of outputs and inputs once a place is empty: the place's own direction is free again.
    alone = inverse.diagonal()[:, None]
    squares = (weights * weights).sum(0)[:, None]
    free = across / alone
    left_yx_squared = (left_yx * left_yx).sum(0) + 2 * (weights.T @ left_yx) * free + squares * free * free
    variance = left_xx + across * across / alone
    gains = left_yx_squared / variance.clamp_min(1e-300) - squares / alone
    gains[:, reads] = -torch.inf
    return gains


# What a change gains, the places that it changes as (group, place in the group), and the inputs that are read there then.
_Change = tuple[float, list[tuple[int, int]], list[int]]


class InputExchange:
    """Improves the inputs of the groups, in place, one round after the other.

    In a round every group takes part in at most one change: two groups exchange an input, or a group that reads an
    input which another group reads too reads something else instead. What a change gains is then exact.
    """

    def __init__(self, problem: Problem, assignment: Assignment) -> None:
        self._problem = problem
        self.assignment = assignment
        groups, width = assignment.reads.shape
        self._gains = torch.empty(groups, width, len(problem.xx), dtype=problem.xx.dtype)
        self._look_again_(range(groups))

    def _look_again_(self, groups: range | set[int]) -> None:
        for group in groups:
            outputs = self.assignment.outputs_of(group)
            self._gains[group] = gains_of_reading(self._problem, self.assignment.reads[group], outputs)

    def set_makers_(self, makers: Tensor) -> None:
        """Assign outputs otherwise."""
        old, self.assignment = self.assignment.makers, Assignment(self.assignment.reads, makers)
        moved = old != makers
        self._look_again_({*old[moved].tolist(), *makers[moved].tolist()})

    def round_(self) -> float:
        """One round of changes. Returns what they gain, as a part of the total; 0 where nothing does."""
        reads = self.assignment.reads.clone()
        counts = torch.bincount(reads.flatten(), minlength=len(self._problem.xx))
        least, gained, changed = _ROUNDING * self._problem.total, 0.0, set[int]()
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
        return gained / self._problem.total if changed else 0.0

    def _exchanges(self, least: float) -> list[_Change]:
        """The best exchange of one input for each pair of groups, where it gains more than ``least``."""
        reads = self.assignment.reads
        groups, width = reads.shape
        ours = self._gains.reshape(groups * width, -1)[
            :, reads.flatten()
        ]  # what each place gains from the input of another
        both = (ours + ours.T).reshape(groups, width, groups, width).transpose(1, 2).reshape(groups, groups, -1)
        best = both.max(2)
        first, second = torch.nonzero(best.values.triu(1) > least, as_tuple=True)
        found = []
        for g, h in zip(first.tolist(), second.tolist(), strict=True):
            place = int(best.indices[g, h])
            here, there = (g, place // width), (h, place % width)
            found.append((float(best.values[g, h]), [here, there], [int(reads[there]), int(reads[here])]))
        return found

    def _replacements(self, counts: Tensor, least: float) -> list[_Change]:
        """For each group the best other input in the place of one that is read elsewhere too, where that gains."""
        repeated = counts[self.assignment.reads] > 1
        best = torch.where(repeated[..., None], self._gains, -torch.inf).flatten(1).max(1)
        channels = len(counts)
        return [
            (float(best.values[g]), [(g, int(best.indices[g]) // channels)], [int(best.indices[g]) % channels])
            for g in torch.nonzero(best.values > least).flatten().tolist()
        ]
