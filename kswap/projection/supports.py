"""Which inputs each filter of a grouped layer may read, and least squares with weights of that support.

A grouped layer has weights ``(F, width)``, in the order of its convolutions: the filters of the first path, group by
group, then those of the second path. Filter ``i`` of the second path reads what group ``i`` of the first path reads, so
that all filters fall into as many sets as there are groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from kswap.planner.layout import GroupedLayout

# Proximal terms, relative to the mean of a diagonal: far below any ridge, far above rounding in float64.
_DAMPING = 1e-10
_TINY = 1e-200


@dataclass(frozen=True)
class Batch:
    """Sets of filters with equally many filters each: ``rows`` are ``(sets, filters)``, ``columns`` ``(sets, width)``.

    ``columns`` are channels of the layer's input; a channel that is replicated stands in two sets.
    """

    rows: Tensor
    columns: Tensor

    def of(self, matrix: Tensor) -> Tensor:
        """The entries of ``matrix`` ``(F, inputs)`` at these rows and columns: ``(sets, filters, width)``."""
        return matrix[self.rows[:, :, None], self.columns[:, None, :]]

    def within(self, square: Tensor) -> Tensor:
        """The part of ``square`` ``(inputs, inputs)`` that each set reads: ``(sets, width, width)``."""
        return square[self.columns[:, :, None], self.columns[:, None, :]]


@dataclass(frozen=True)
class Support:
    """The places where a grouped layer has weights, as index tensors.

    >>> support = Support(GroupedLayout.of(14, 10, ch=4))
    >>> [tuple(batch.rows.shape) for batch in support.batches]
    [(2, 3), (2, 2)]
    >>> support.dense(torch.ones(10, 4)).sum(1).tolist()[:3]
    [4.0, 4.0, 4.0]
    """

    layout: GroupedLayout

    @cached_property
    def columns(self) -> Tensor:
        """The input channels of each group: ``(groups, width)``."""
        return torch.tensor(self.layout.read_order()).reshape(self.layout.groups, self.layout.group_width)

    @cached_property
    def owners(self) -> Tensor:
        """The group whose inputs each filter reads: ``(F,)``."""
        first = torch.arange(self.layout.groups).repeat_interleave(self.layout.filters_per_group)
        return torch.cat([first, torch.arange(self.layout.extra_groups)])

    @cached_property
    def batches(self) -> tuple[Batch, ...]:
        """The sets of filters that read the same inputs: those with a filter of the second path, then the others."""
        layout = self.layout
        extra, filters = layout.extra_groups, layout.groups * layout.filters_per_group
        first = torch.arange(filters).reshape(layout.groups, layout.filters_per_group)
        found = []
        if extra:
            second = filters + torch.arange(extra)[:, None]
            found.append(Batch(torch.cat([first[:extra], second], 1), self.columns[:extra]))
        found.append(Batch(first[extra:], self.columns[extra:]))
        return tuple(found)

    def zeros(self) -> Tensor:
        """Weights ``(F, width)`` that are all zero."""
        return torch.zeros(self.layout.out_channels, self.layout.group_width, dtype=torch.float64)

    def dense(self, weights: Tensor) -> Tensor:
        """The matrix ``(F, inputs)`` of a layer with ``weights`` ``(F, width)``."""
        matrix = weights.new_zeros(self.layout.out_channels, self.layout.in_channels)
        return matrix.scatter_add_(1, self.columns[self.owners], weights)

    def solve(self, target: Tensor, metric: Tensor, start: Tensor, zero_sum: bool = False) -> Tensor:
        """Weights ``(F, width)`` of this support with least ``tr(A metric A^T) - 2 tr(A target^T)``, in closed form.

        Args:
            target: ``(F, inputs)``, the wanted matrix times ``metric``.
            metric: ``(inputs, inputs)``, positive semidefinite.
            start: weights; directions that ``metric`` does not see stay as they are here.
            zero_sum: whether the weights of each filter sum to zero. Those of ``start`` must then do so.
        """
        weights = start.clone()
        for batch in self.batches:
            square = batch.within(metric)
            slope = batch.of(target) - start[batch.rows] @ square
            weights[batch.rows] += slope @ inverse(square, zero_sum)
        return weights

    def value(self, target: Tensor, metric: Tensor, weights: Tensor) -> float:
        """What :meth:`solve` makes least, for other ``weights``."""
        found = 0.0
        for batch in self.batches:
            own = weights[batch.rows]
            found += float(((own @ batch.within(metric) - 2 * batch.of(target)) * own).sum())
        return found


def inverse(square: Tensor, zero_sum: bool = False) -> Tensor:
    """Inverses of positive semidefinite matrices ``(..., n, n)``, slightly damped.

    With ``zero_sum``, the inverse among vectors whose elements sum to zero, and zero for all others.
    """
    size = square.shape[-1]
    diagonal = square.diagonal(dim1=-2, dim2=-1)
    damping = (_DAMPING * diagonal.mean(-1)).clamp_min(_TINY)[..., None, None]
    damped = square + damping * torch.eye(size, dtype=square.dtype)
    found = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    if zero_sum:
        sums = found.sum(-1, keepdim=True)
        found = found - sums * sums.mT / sums.sum(-2, keepdim=True)
    return found
