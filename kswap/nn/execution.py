"""How the layers of a block are computed: other operators for the same map, over the same parameters.

A grouped layer as it stands reads slices of its input, repeats channels and concatenates, and torch's backward
passes of these give gradients in another memory format, which every operator below then has to convert. The
modules here hold no parameters: they lay the compact weights of a grouped layer out for fewer and larger groups,
and know the gradients of slice, concatenation and interleave. What they save is time in training; which number
of groups is quickest is for :mod:`kswap.deploy.training` to find.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kswap.errors import PlanError
from kswap.planner.layout import GroupedLayout

_CHANNELS = 1  # the dimension of the channels in (N, C, H, W)


@dataclass(frozen=True)
class Execution:
    """In how many groups the two paths of a grouped layer are computed.

    ``first`` and ``second`` divide the groups of the first path and of the second: groups are merged, with zeros
    where a filter does not read. ``Execution(1)`` is one dense convolution that holds both paths, and that takes
    an interleave before the layer into the columns of its weight; all others have ``second`` 0 only where the
    layout has no second path.

    >>> Execution(1).is_dense, Execution(6).is_dense
    (True, False)
    """

    first: int
    second: int = 0

    def __post_init__(self) -> None:
        if self.first < 1 or self.second < 0:
            raise PlanError("an execution has at least one group in the first path and none or more in the second")

    @property
    def is_dense(self) -> bool:
        return self.first == 1 and self.second == 0

    def check(self, layout: GroupedLayout) -> None:
        """Raises :class:`PlanError` where the groups of ``layout`` cannot be merged in this way."""
        if self.is_dense:
            if layout.group_width > layout.in_channels:
                raise PlanError(f"the layout {layout.short()} reads a channel twice in a group: it has no dense weight")
            return
        extra = layout.extra_groups
        fits = layout.groups % self.first == 0 and (self.second > 0) == (extra > 0)
        if not fits or (extra and extra % self.second):
            raise PlanError(
                f"the layout {layout.short()} cannot be computed in {self.first} and {self.second} groups: "
                "take divisors of the groups of its two paths"
            )


def executions(layout: GroupedLayout) -> list[Execution]:
    """The ways to compute ``layout``: dense, and merged groups, each time twice as wide, down to as it stands.

    >>> [(e.first, e.second) for e in executions(GroupedLayout.of(192, 1152, ch=16))]
    [(12, 0), (6, 0), (3, 0), (1, 0)]
    """
    found = [Execution(1)]
    if layout.groups == 1:
        return found
    wide = layout.groups
    while wide > 1:
        extra = layout.extra_groups
        second = _divisor(extra, extra * wide / layout.groups) if extra else 0
        choice = Execution(_divisor(layout.groups, wide), second)
        if choice not in found:
            found.append(choice)
        wide //= 2
    return found[1:] + found[:1]


def _divisor(number: int, near: float) -> int:
    """The divisor of ``number`` that is nearest to ``near``; the smaller one of two."""
    return min((d for d in range(1, number + 1) if number % d == 0), key=lambda d: (abs(d - near), d))


@dataclass(frozen=True)
class _Form:
    """What a pass needs to know beside its tensors: strides, groups of both paths, channels repeated and sliced."""

    stride: tuple[int, ...]
    first: int
    second: int
    replicated: int
    sliced: int


def _prefix(x: Tensor, channels: int) -> Tensor:
    """The first ``channels`` of ``x``, in one piece and in the memory format of ``x``."""
    kind = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    return x.narrow(_CHANNELS, 0, channels).contiguous(memory_format=kind)


def _replicate(x: Tensor, channels: int) -> Tensor:
    return torch.cat([x, x.narrow(_CHANNELS, 0, channels)], _CHANNELS) if channels else x


def _both_paths(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], form: _Form) -> Tensor:
    x = _replicate(x, form.replicated)
    first = F.conv2d(x, weights[0], biases[0], form.stride, groups=form.first)
    if not form.second:
        return first
    second = F.conv2d(_prefix(x, form.sliced), weights[1], biases[1], form.stride, groups=form.second)
    return torch.cat([first, second], _CHANNELS)


class _Paths(torch.autograd.Function):
    """Both paths with their gradients in the memory format of the input, and without a tensor of zeros."""

    @staticmethod
    def forward(
        x: Tensor, first: Tensor, first_bias: Tensor | None, second: Tensor | None, second_bias: Tensor | None, form: _Form
    ) -> Tensor:
        weights = [first] if second is None else [first, second]
        return _both_paths(x, weights, [first_bias, second_bias], form)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, first, _, second, _, form = inputs
        ctx.save_for_backward(x, first, second)
        ctx.form = form

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, first, second = ctx.saved_tensors
        form: _Form = ctx.form
        needs = ctx.needs_input_grad
        (grad,) = gradients
        x = _replicate(x, form.replicated)
        of_first = _prefix(grad, first.shape[0]) if form.second else grad
        gx, g1, b1 = _backward(of_first, x, first, form.stride, form.first, (needs[0], needs[1], needs[2]))
        g2 = b2 = None
        if form.second:
            kind = torch.channels_last if grad.is_contiguous(memory_format=torch.channels_last) else None
            rest = grad.narrow(_CHANNELS, first.shape[0], second.shape[0])
            rest = rest.contiguous(memory_format=kind or torch.contiguous_format)
            part = _prefix(x, form.sliced)
            gs, g2, b2 = _backward(rest, part, second, form.stride, form.second, (needs[0], needs[3], needs[4]))
            if needs[0]:
                gx.narrow(_CHANNELS, 0, form.sliced).add_(gs)
        if form.replicated and needs[0]:
            inputs = x.shape[_CHANNELS] - form.replicated
            again = gx.narrow(_CHANNELS, inputs, form.replicated)
            gx = _prefix(gx, inputs)
            gx.narrow(_CHANNELS, 0, form.replicated).add_(again)
        return gx, g1, b1, g2, b2, None


def _backward(
    grad: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, ...], groups: int, needed: tuple[bool, bool, bool]
) -> tuple[Tensor, Tensor, Tensor]:
    zeros, ones = [0] * len(stride), [1] * len(stride)
    bias = [weight.shape[0]] if needed[2] else None
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        grad, x, weight, bias, stride, zeros, ones, False, zeros, groups, needed
    )
    return found


class _Reordered(torch.autograd.Function):
    """A permutation of the channels, whose gradient is the inverse permutation and no sum."""

    @staticmethod
    def forward(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        return _select(x, order)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1], inputs[2])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        order, inverse = ctx.saved_tensors
        return _Reordered.apply(gradients[0], inverse, order), None, None


def _select(x: Tensor, order: Tensor) -> Tensor:
    """``x[:, order]``; rows of channels are quicker to gather from than planes with strides."""
    if not x.is_contiguous(memory_format=torch.channels_last):
        return x.index_select(_CHANNELS, order)
    n, c, h, w = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(n * h * w, c)
    return rows.index_select(1, order).view(n, h, w, c).permute(0, 3, 1, 2)


def _is_recorded() -> bool:
    """Whether the operators are recorded instead of run: then stock ones only, with their own gradients."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[no-untyped-call]


class Reorder(nn.Module):
    """The interleave ``order`` on ``(N, C, H, W)``, in the memory format of its input in both directions.

    >>> Reorder(torch.tensor([0, 2, 1, 3]))(torch.arange(4.0).view(1, 4, 1, 1)).flatten().tolist()
    [0.0, 2.0, 1.0, 3.0]
    """

    order: Tensor
    inverse: Tensor

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("inverse", order.argsort(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if _is_recorded():
            return _select(x, self.order)
        reordered: Tensor = _Reordered.apply(x, self.order, self.inverse)
        return reordered


class GroupedComputation(nn.Module):
    """Computes the grouped layer of ``layout`` as ``execution`` says, with weights that the caller holds.

    ``order`` is the interleave in front of the layer where a dense ``execution`` has to take it in. Called with
    the input ``(N, in_channels, H, W)`` and the convolutions of the first and, where there is one, second path.
    Their weights get the gradients. Raises :class:`PlanError` where ``execution`` does not fit ``layout``.
    """

    first_cells: Tensor | None
    second_cells: Tensor | None

    def __init__(
        self,
        layout: GroupedLayout,
        execution: Execution,
        stride: tuple[int, ...] = (1, 1),
        order: Sequence[int] | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        execution.check(layout)
        if order is not None and not execution.is_dense:
            raise PlanError("only a dense execution takes an interleave in")
        self.layout = layout
        self.execution = execution
        self.has_order = order is not None
        sliced = layout.extra_groups * layout.group_width
        dense = execution.is_dense
        self.form = _Form(tuple(stride), execution.first, execution.second, 0 if dense else layout.replicated, sliced)
        if dense:
            cells = _dense_cells(layout, order)
            rows = layout.groups * layout.filters_per_group
            pair: tuple[list[list[int]] | None, list[list[int]] | None] = (cells[:rows], cells[rows:] or None)
        else:
            first = _merged_cells(layout.groups, layout.filters_per_group, layout.group_width, execution.first)
            second = _merged_cells(layout.extra_groups, 1, layout.group_width, execution.second)
            pair = (first, second)
        for name, found in zip(("first_cells", "second_cells"), pair, strict=True):
            cells_of = None if found is None else torch.tensor(found, device=device).flatten()
            self.register_buffer(name, cells_of, persistent=False)

    def forward(self, x: Tensor, first: nn.Module, second: nn.Module | None = None) -> Tensor:
        weights: list[Tensor] = [first.weight] if second is None else [first.weight, second.weight]  # type: ignore[list-item]
        biases: list[Tensor | None] = [first.bias, None if second is None else second.bias]  # type: ignore[list-item]
        if self.execution.is_dense:
            weights, biases = [self._dense(weights)], [_joined(biases), None]
            return F.conv2d(x, weights[0], biases[0], self.form.stride)
        weights[0] = _laid_out(weights[0], self.first_cells, self.layout.groups // self.form.first)
        if second is not None:
            weights[1] = _laid_out(weights[1], self.second_cells, self.layout.extra_groups // self.form.second)
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
            x, weights = x.to(dtype), [weight.to(dtype) for weight in weights]
            biases = [None if bias is None else bias.to(dtype) for bias in biases]
        if _is_recorded():
            return _both_paths(x, weights, biases, self.form)
        extra = weights[1] if len(weights) > 1 else None
        out: Tensor = _Paths.apply(x, weights[0], biases[0], extra, biases[1], self.form)
        return out

    def _dense(self, weights: Sequence[Tensor]) -> Tensor:
        shape = (self.layout.out_channels, self.layout.in_channels, 1, 1)
        cells = weights[0].new_zeros(shape[0] * shape[1])
        for weight, places in zip(weights, (self.first_cells, self.second_cells), strict=False):
            assert places is not None
            cells = cells.index_copy(0, places, weight.flatten())
        return cells.view(shape)

    def extra_repr(self) -> str:
        return f"{self.execution.first}, {self.execution.second}"


def _joined(biases: Sequence[Tensor | None]) -> Tensor | None:
    found = [bias for bias in biases if bias is not None]
    return torch.cat(found) if found else None


def _laid_out(weight: Tensor, places: Tensor | None, merged: int) -> Tensor:
    """The weight of a grouped convolution for groups that are ``merged`` times as wide."""
    if places is None:
        return weight
    filters, width = weight.shape[:2]
    cells = weight.new_zeros(filters * width * merged).index_copy(0, places, weight.flatten())
    return cells.view(filters, width * merged, 1, 1)


def _merged_cells(groups: int, filters: int, width: int, merged_groups: int) -> list[list[int]] | None:
    """For each filter, where its weights stand in the weight of ``merged_groups``; ``None``: where they are."""
    if groups in (0, merged_groups):
        return None
    merged = groups // merged_groups
    starts = (row * merged * width + (row // filters) % merged * width for row in range(groups * filters))
    return [list(range(start, start + width)) for start in starts]


def _dense_cells(layout: GroupedLayout, order: Sequence[int] | None) -> list[list[int]]:
    """For each filter of both paths, where its weights stand in the dense weight: each in a cell of its own."""
    read = layout.read_order()
    if order is not None:
        read = [order[channel] for channel in read]
    width, inputs = layout.group_width, layout.in_channels
    groups = [row // layout.filters_per_group for row in range(layout.groups * layout.filters_per_group)]
    groups += range(layout.extra_groups)
    return [
        [row * inputs + read[group * width + position] for position in range(width)] for row, group in enumerate(groups)
    ]
