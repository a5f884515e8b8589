"""Which inputs each group of a grouped layer reads and which outputs it makes: how good that is, and what is better."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kswap.planner.layout import GroupedLayout
from kswap.projection.balanced import improved
from kswap.projection.objective import Objective
from kswap.projection.supports import Support


@dataclass(frozen=True)
class Assignment:
    """``reads`` ``(groups, group_width)`` are the inputs of each group, ``makers`` ``(F,)`` the group of each output.

    Each input is read at least once, and by a group at most once.
    """

    reads: Tensor
    makers: Tensor

    @classmethod
    def in_own_order(cls, layout: GroupedLayout) -> Assignment:
        """The assignment of a grouped layer that reads and makes its channels in order."""
        support = Support(layout)
        return cls(support.columns, support.owners)

    def outputs_of(self, group: int) -> Tensor:
        """The outputs that a group makes, in ascending order."""
        return torch.nonzero(self.makers == group).flatten()


def weights_of(objective: Objective, reads: Tensor, outputs: Tensor) -> Tensor:
    """The best weights ``(outputs, reads)`` of one group."""
    own = objective.metric[reads[:, None], reads]
    weights: Tensor = torch.linalg.solve(own, objective.target[outputs[:, None], reads].T).T
    return weights


def explained(objective: Objective, reads: Tensor) -> Tensor:
    """What each group would explain of each output, ``(F, groups)``, at its best weights."""
    own = objective.metric[reads[:, :, None], reads[:, None, :]]
    target = objective.target.T[reads]  # (groups, width, F)
    weights: Tensor = torch.linalg.solve(own, target)
    return (weights * target).sum(1).T


def error(objective: Objective, assignment: Assignment) -> float:
    """The objective at the best weights of this assignment."""
    found = explained(objective, assignment.reads).gather(1, assignment.makers[:, None])
    return objective.relative(-float(found.sum()))


def with_best_outputs(objective: Objective, assignment: Assignment) -> Assignment:
    """The best balanced assignment of the outputs to these groups of inputs."""
    values = explained(objective, assignment.reads).numpy()
    return Assignment(assignment.reads, torch.from_numpy(improved(values, assignment.makers.numpy())))


def strength_of(objective: Objective) -> Tensor:
    """What each weight of the best dense map would explain if the inputs were independent, ``(F, Ic)``."""
    dense: Tensor = torch.linalg.solve(objective.metric, objective.target.T).T
    return dense * dense * objective.metric.diagonal()


def with_inputs_by_strength(strength: Tensor, assignment: Assignment) -> Assignment:
    """The best balanced assignment of the inputs to these groups of outputs, if the inputs were independent.

    The objective may rise, but another place to improve from is reached. Places beyond one for each input are filled
    last, with what is worth most there. ``strength`` is that of :func:`strength_of`.
    """
    groups, width = assignment.reads.shape
    values = torch.zeros(groups, strength.shape[1], dtype=strength.dtype)
    values = values.index_add_(0, assignment.makers, strength).T
    own = torch.full((len(values),), -1)
    for group in reversed(range(groups)):  # an input that several groups read belongs to the first of them
        own[assignment.reads[group]] = group
    own = torch.from_numpy(improved(values.contiguous().numpy(), own.numpy()))
    order = values.argsort(dim=0, descending=True, stable=True)
    reads = torch.empty_like(assignment.reads)
    for group in range(groups):
        members = torch.nonzero(own == group).flatten()
        others = order[:, group][own[order[:, group]] != group]
        reads[group] = torch.cat([members, others[: width - len(members)]])
    return Assignment(reads, assignment.makers)
