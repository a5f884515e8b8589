"""Alternating least squares for ``(I + L P) K`` and ``L P K``: K and L by turns, each with the other held."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from kswap.planner.layer_plan import LayerPlan, interleave_order
from kswap.projection.objective import Objective
from kswap.projection.supports import Support, inverse

# A fit ends after a sweep that lowers the error by less than this part of the outputs' variance, or after so many.
_LEAST_GAIN = 1e-5
_SWEEPS = 20


@dataclass(frozen=True)
class Pair:
    """Weights of K ``(F, width)`` and of L, in the order of their layers, and the objective after every half-step."""

    k: Tensor
    l: Tensor  # noqa: E741
    errors: tuple[float, ...]


@dataclass(frozen=True)
class Alternation:
    """The fit of a block with K and L, whose output is ``M K x`` with ``M = I + L P``, or ``L P`` without the sum.

    The steps hold K in the order of its groups: the filters of the first group, with that of the second path which
    reads the same inputs, then those of the next. With ``zero_sum`` the weights of each filter of both layers sum to
    zero, as those of weight-standardised convolutions do.
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

    @cached_property
    def _by_group(self) -> Tensor:
        """Filters of K, group by group."""
        return torch.argsort(self.k_support.owners, stable=True)

    @cached_property
    def _read_by_l(self) -> Tensor:
        """For each channel after the interleave, its place in the order of :attr:`_by_group`."""
        step, channels = self.plan.interleave_step, self.plan.out_channels
        order = torch.tensor(interleave_order(channels, step or 1))
        return torch.argsort(self._by_group)[order]

    @cached_property
    def _identity(self) -> Tensor:
        """The part of M that is not L: ``(F, F)``."""
        eye = torch.eye(self.plan.out_channels, dtype=torch.float64)
        return eye[:, self._by_group] if self.plan.sum else torch.zeros_like(eye)

    @cached_property
    def _groups(self) -> list[tuple[slice, slice]]:
        """Filters and replicated inputs of each group of K."""
        layout = self.k_support.layout
        found, start = [], 0
        for group in range(layout.groups):
            filters = layout.filters_per_group + (group < layout.extra_groups)
            inputs = slice(group * layout.group_width, (group + 1) * layout.group_width)
            found.append((slice(start, start + filters), inputs))
            start += filters
        return found

    @cached_property
    def _metric(self) -> Tensor:
        """The metric of the replicated inputs."""
        columns = self.k_support.columns.flatten()
        return self.objective.metric[columns[:, None], columns]

    @cached_property
    def _target(self) -> Tensor:
        """The target for the replicated inputs."""
        return self.objective.target[:, self.k_support.columns.flatten()]

    @cached_property
    def _inverses(self) -> Tensor:
        """For each group, the inverse of the metric of its inputs."""
        return inverse(torch.stack([self._metric[inputs, inputs] for _, inputs in self._groups]), self.zero_sum)

    def run(self, start: tuple[Tensor, Tensor] | None = None, sweeps: int = _SWEEPS) -> Pair:
        """Alternate from ``start`` (weights of K and L), or from K fitted alone.

        L is solved in closed form, K group by group with the others held (block Gauss-Seidel).
        """
        if start is None:
            k = self.k_support.solve(
                self.objective.target, self.objective.metric, self._zeros(self.k_support), self.zero_sum
            )
            l = self._zeros(self.l_support)  # noqa: E741
        else:
            k, l = start  # noqa: E741
        k = k[self._by_group]
        seen = self._passed_on(k)
        errors = []
        for _ in range(sweeps):
            l = self._l_step(l, *seen)  # noqa: E741
            mixing = self._mixing(l)
            errors.append(self._error(mixing, *seen))
            k = self._k_step(k, mixing)
            seen = self._passed_on(k)
            errors.append(self._error(mixing, *seen))
            if len(errors) > 2 and errors[-3] - errors[-1] < _LEAST_GAIN:
                break
        l = self._l_step(l, *seen)  # noqa: E741
        errors.append(self._error(self._mixing(l), *seen))
        k = k[torch.argsort(self._by_group)]
        return Pair(*(self._balanced(k, l) if not self.plan.sum else (k, l)), tuple(errors))

    def matrix(self, k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
        """The whole map ``(F, Ic)`` of weights of K and L."""
        return self._mixing(l) @ self.k_support.dense(k)[self._by_group]

    @staticmethod
    def _zeros(support: Support) -> Tensor:
        return torch.zeros(support.layout.out_channels, support.layout.group_width, dtype=torch.float64)

    def _mixing(self, l: Tensor) -> Tensor:  # noqa: E741
        """M, for channels of K in the order of its groups: ``(F, F)``."""
        mixing = self._identity.clone()
        mixing[:, self._read_by_l] += self.l_support.dense(l)
        return mixing

    def _of_inputs(self, k: Tensor) -> Tensor:
        """K times the metric: ``(F, replicated inputs)``."""
        return torch.cat([k[filters] @ self._metric[inputs] for filters, inputs in self._groups])

    def _passed_on(self, k: Tensor) -> tuple[Tensor, Tensor]:
        """Metric and target of what K returns, both ``(F, F)``."""
        both = torch.cat([self._of_inputs(k), self._target])
        found = torch.cat([both[:, inputs] @ k[filters].T for filters, inputs in self._groups], 1)
        metric, target = found[: len(k)], found[len(k) :]
        return (metric + metric.T) / 2, target

    def _error(self, mixing: Tensor, metric: Tensor, target: Tensor) -> float:
        return self.objective.relative(float((((mixing @ metric) - 2 * target) * mixing).sum()))

    def _l_step(self, l: Tensor, metric: Tensor, target: Tensor) -> Tensor:  # noqa: E741
        """The best L for a K whose outputs have ``metric`` and ``target``."""
        read = self._read_by_l
        left = target - self._identity @ metric
        return self.l_support.solve(left[:, read], metric[read[:, None], read], l, self.zero_sum)

    def _k_step(self, k: Tensor, mixing: Tensor) -> Tensor:
        """One sweep over the groups of K: each becomes the best for M and the other groups."""
        k = k.clone()
        wanted, square = mixing.T @ self._target, mixing.T @ mixing
        squares = [square[filters, filters] for filters, _ in self._groups]
        extra = self.k_support.layout.extra_groups  # groups of two sizes
        inverses = [part for same in (squares[:extra], squares[extra:]) if same for part in inverse(torch.stack(same))]
        of_inputs = self._of_inputs(k)
        for (filters, inputs), left, right in zip(self._groups, inverses, self._inverses, strict=True):
            slope = wanted[filters, inputs] - square[filters] @ of_inputs[:, inputs]
            step = left @ slope @ right
            k[filters] += step
            of_inputs[filters] += step @ self._metric[inputs]
        return k

    def _balanced(self, k: Tensor, l: Tensor) -> tuple[Tensor, Tensor]:  # noqa: E741
        """Without the sum, the same map with each channel between K and L scaled so that both sides weigh the same."""
        step, channels = self.plan.interleave_step, self.plan.out_channels
        order = torch.tensor(interleave_order(channels, step or 1))
        columns = order[self.l_support.columns[self.l_support.owners]]
        into, out = (
            k.norm(dim=1),
            torch.zeros(channels, dtype=k.dtype).index_add_(0, columns.flatten(), l.flatten() ** 2),
        )
        scale = (out.sqrt() / into).sqrt()
        scale[~(scale.isfinite() & (scale > 0))] = 1.0
        return k * scale[:, None], l / scale[columns]
