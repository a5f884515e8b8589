"""Alternating least squares for ``(I + L P) K`` and ``L P K``: K and L by turns, each with the other held."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from kswap.planner.layer_plan import LayerPlan, interleave_order
from kswap.projection.objective import Objective
from kswap.projection.supports import Support, inverse

# A fit ends after two sweeps that lower the error by less than this part of it, or when nothing is left.
_LEAST_GAIN, _LEAST_ERROR = 1e-5, 1e-13
# It ends after so many sweeps, except for a map that has the form: its error still falls by a fifth in ten sweeps.
_SWEEPS, _MOST_SWEEPS = 20, 400
_STILL, _FALLING = 10, 0.8


@dataclass(frozen=True)
class Pair:
    """Weights of K and of L, each ``(F, inputs per group)`` in the order of its layer.

    ``errors`` is the objective after every half-step, the first after L is solved for the K of the start.
    """

    k: Tensor
    l: Tensor  # noqa: E741 - K and L are the names of the papers
    errors: tuple[float, ...]


@dataclass(frozen=True)
class _LeftToL:
    """What L reads and should add, for a given K: its objective, and the terms of the whole that L does not change."""

    target: Tensor
    metric: Tensor
    rest: float


@dataclass(frozen=True)
class Alternation:
    """The fit of a block with K and L, whose output is ``M K x`` with ``M = I + L P``, or ``L P`` without the sum.

    With ``zero_sum`` the weights of each filter of both layers sum to zero, as those of weight-standardised
    convolutions do. Inside, the filters of K are put into slots, equally many for each group, so that groups are
    multiplied in batches; slots without a filter hold zeros.
    """

    plan: LayerPlan
    objective: Objective
    zero_sum: bool = False

    @cached_property
    def k_support(self) -> Support:
        assert self.plan.k is not None
        return Support(self.plan.k)

    @cached_property
    def l_support(self) -> Support:
        assert self.plan.l is not None
        return Support(self.plan.l)

    def run(self, start: tuple[Tensor, Tensor] | None = None) -> Pair:
        """Alternate from weights of K and L, or from K fitted alone.

        L is solved in closed form, K group by group with the others held (block Gauss-Seidel). Each sweep goes on from
        K in the direction in which it moves, with Nesterov's momentum, and without it where that would raise the error
        (O'Donoghue and Candes 2015).
        """
        k, l = start or (self.k_alone(), self.l_support.zeros())  # noqa: E741
        left = self._left_to_l(k)
        l = self._l_step(left, l)  # noqa: E741
        errors, before, momentum = [self._error(left, l)], k, 1.0
        for sweep in range(1, _MOST_SWEEPS + 1):
            stepped = self.k_step(k, l)
            left = self._left_to_l(stepped)
            errors.append(self._error(left, l))
            following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            further = stepped + (momentum - 1) / following * (stepped - before)
            left_further = self._left_to_l(further) if momentum > 1 else left
            l_further = self._l_step(left_further, l)
            error = self._error(left_further, l_further)
            if error <= errors[-1]:
                k, l, momentum = further, l_further, following  # noqa: E741
            else:
                k, l, momentum = stepped, self._l_step(left, l), 1.0  # noqa: E741
                error = self._error(left, l)
            before = stepped
            errors.append(error)
            if (sweep > 1 and errors[-5] - error <= _LEAST_GAIN * errors[-5]) or error < _LEAST_ERROR:
                break
            if sweep >= _SWEEPS and error > _FALLING * errors[-1 - 2 * _STILL]:
                break
        return Pair(*(self._balanced(k, l) if not self.plan.sum else (k, l)), tuple(errors))

    def matrix(self, k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
        """The whole map ``(F, Ic)`` of weights of K and L."""
        return self._mixing(l) @ self.k_support.dense(k)

    def k_alone(self) -> Tensor:
        """The best K for a block without L."""
        return self.k_support.solve(self.objective.target, self.objective.metric, self.k_support.zeros(), self.zero_sum)

    def l_step(self, k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
        """The best L for K, in closed form; ``l`` decides what the outputs of K leave open."""
        return self._l_step(self._left_to_l(k), l)

    def k_step(self, k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
        """One sweep over the groups of K: each becomes the best for L and the other groups."""
        mixing = _padded(self._mixing(l).T)[self._filters]  # (groups, slots, F)
        wanted = mixing @ self._target
        flat = mixing.flatten(0, 1)
        square = flat @ flat.T
        slots = mixing.shape[1]
        places = [slice(start, start + slots) for start in range(0, len(flat), slots)]
        own = inverse(torch.stack([square[place, place] for place in places]))
        steps = _padded(k)[self._filters]
        of_inputs = (steps @ self._metric).flatten(0, 1)
        for group, place in enumerate(places):
            width = slice(group * steps.shape[2], (group + 1) * steps.shape[2])
            slope = wanted[group] - square[place] @ of_inputs[:, width]
            step = own[group] @ slope @ self._inverses[group]
            steps[group] += step
            of_inputs[place] += step @ self._metric[group]
        return steps.flatten(0, 1)[self._slots]

    @cached_property
    def _filters(self) -> Tensor:
        """The filters of each group of K: ``(groups, slots)``; ``F`` where a slot is empty."""
        layout = self.k_support.layout
        slots = layout.filters_per_group + (layout.extra_groups > 0)
        found = torch.full((layout.groups, slots), layout.out_channels)
        for batch in self.k_support.batches:
            found[self.k_support.owners[batch.rows[:, 0]], : batch.rows.shape[1]] = batch.rows
        return found

    @cached_property
    def _slots(self) -> Tensor:
        """The slot of each filter of K: ``(F,)``."""
        return torch.argsort(self._filters.flatten())[: self.plan.out_channels]

    @cached_property
    def _interleaved(self) -> Tensor:
        """For each input of L, the filter of K that it is."""
        return torch.tensor(interleave_order(self.plan.out_channels, self.plan.interleave_step or 1))

    @cached_property
    def _metric(self) -> Tensor:
        """The metric of the replicated inputs: ``(groups, width, groups * width)``."""
        columns = self.k_support.columns.flatten()
        return self.objective.metric[columns[:, None], columns].reshape(*self.k_support.columns.shape, -1)

    @cached_property
    def _target(self) -> Tensor:
        """The target for the inputs of each group: ``(groups, F, width)``."""
        return self.objective.target[:, self.k_support.columns].transpose(0, 1).contiguous()

    @cached_property
    def _inverses(self) -> Tensor:
        """For each group, the inverse of the metric of its inputs."""
        columns = self.k_support.columns
        return inverse(self.objective.metric[columns[:, :, None], columns[:, None, :]], self.zero_sum)

    def _mixing(self, l: Tensor) -> Tensor:  # noqa: E741
        """M: ``(F, F)``."""
        mixing = torch.zeros(len(l), len(l), dtype=torch.float64)
        mixing[:, self._interleaved] = self.l_support.dense(l)
        if self.plan.sum:
            mixing.diagonal().add_(1)
        return mixing

    def _left_to_l(self, k: Tensor) -> _LeftToL:
        groups = _padded(k)[self._filters]
        of_inputs = (groups @ self._metric).flatten(0, 1)[self._slots]
        by_group = of_inputs.reshape(len(k), *self.k_support.columns.shape).transpose(0, 1)
        metric, target = (
            (matrix @ groups.mT).transpose(0, 1).flatten(1)[:, self._slots] for matrix in (by_group, self._target)
        )
        metric, rest = (metric + metric.T) / 2, 0.0
        if self.plan.sum:
            rest = float(metric.trace() - 2 * target.trace())
            target = target - metric
        read = self._interleaved
        return _LeftToL(target[:, read], metric[read[:, None], read], rest)

    def _error(self, left: _LeftToL, l: Tensor) -> float:  # noqa: E741
        return self.objective.relative(left.rest + self.l_support.value(left.target, left.metric, l))

    def _l_step(self, left: _LeftToL, l: Tensor) -> Tensor:  # noqa: E741
        return self.l_support.solve(left.target, left.metric, l, self.zero_sum)

    def _balanced(self, k: Tensor, l: Tensor) -> tuple[Tensor, Tensor]:  # noqa: E741
        """The same ``L P K`` with each channel between K and L scaled so that both sides weigh the same."""
        columns = self._interleaved[self.l_support.columns[self.l_support.owners]]
        read = torch.zeros(len(k), dtype=torch.float64).index_add_(0, columns.flatten(), l.flatten() ** 2).sqrt()
        scale = (read / k.norm(dim=1)).sqrt()
        scale[~(scale.isfinite() & (scale > 0))] = 1.0
        return k * scale[:, None], l / scale[columns]


def _padded(rows: Tensor) -> Tensor:
    """The same rows, and one of zeros."""
    return torch.cat([rows, rows.new_zeros(1, rows.shape[1])])
