"""Grouped layers computed in fewer and larger groups, over the same parameters.

A grouped layer in its stock operators reads slices of its input, repeats channels and concatenates, and torch's
backward passes of these return gradients in another memory format, which every operator below then has to convert. The
modules here hold no parameters: they lay the compact weights of a grouped layer out for fewer and larger groups,
and know the gradients of slice, concatenation and interleave. What they save is time in training; which merging
is quickest is for :mod:`kswap.training.optimize` to find.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kswap.errors import PlanError
from kswap.nn.group_merging import GroupMerging, filters_of_rows, place_paths
from kswap.nn.indices import IndexBuffers
from kswap.planner.layout import GroupedLayout

_CHANNELS = 1  # the dimension of the channels in (N, C, H, W)


@dataclass(frozen=True)
class _Sizes:
    """What a pass needs to know beside its tensors: strides, groups of both paths, channels repeated and sliced."""

    stride: tuple[int, ...]
    first: int
    second: int
    replicated: int
    sliced: int


def _part(x: Tensor, start: int, channels: int) -> Tensor:
    """Channels of ``x`` from ``start`` on, in one piece and in the memory format of ``x``."""
    if _needs_stock_operators():  # a batch of tensors that looks like one has no memory format to ask for
        return x.narrow(_CHANNELS, start, channels)
    kind = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    return x.narrow(_CHANNELS, start, channels).contiguous(memory_format=kind)


def _replicate(x: Tensor, channels: int) -> Tensor:
    return torch.cat([x, x.narrow(_CHANNELS, 0, channels)], _CHANNELS) if channels else x


def _both_paths(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], sizes: _Sizes) -> Tensor:
    x = _replicate(x, sizes.replicated)
    first = F.conv2d(x, weights[0], biases[0], sizes.stride, groups=sizes.first)
    if not sizes.second:
        return first
    second = F.conv2d(_part(x, 0, sizes.sliced), weights[1], biases[1], sizes.stride, groups=sizes.second)
    return torch.cat([first, second], _CHANNELS)


class _Paths(torch.autograd.Function):
    """Both paths with their gradients in the memory format of the input, and without a tensor of zeros."""

    @staticmethod
    def forward(
        x: Tensor,
        first: Tensor,
        first_bias: Tensor | None,
        second: Tensor | None,
        second_bias: Tensor | None,
        sizes: _Sizes,
    ) -> Tensor:
        weights = [first] if second is None else [first, second]
        return _both_paths(x, weights, [first_bias, second_bias], sizes)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, first, _, second, _, sizes = inputs
        ctx.save_for_backward(x, first, second)
        ctx.sizes = sizes

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, first, second = ctx.saved_tensors
        sizes: _Sizes = ctx.sizes
        needs = ctx.needs_input_grad
        (grad,) = gradients
        x = _replicate(x, sizes.replicated)
        filters = first.shape[0]
        of_first = _part(grad, 0, filters) if sizes.second else grad
        gx, g1, b1 = _backward(of_first, x, first, sizes.stride, sizes.first, (needs[0], needs[1], needs[2]))
        g2 = b2 = None
        if sizes.second:
            of_second, part = _part(grad, filters, second.shape[0]), _part(x, 0, sizes.sliced)
            gs, g2, b2 = _backward(of_second, part, second, sizes.stride, sizes.second, (needs[0], needs[3], needs[4]))
            if needs[0]:
                gx.narrow(_CHANNELS, 0, sizes.sliced).add_(gs)
        if sizes.replicated and needs[0]:
            inputs = x.shape[_CHANNELS] - sizes.replicated
            repeated = gx.narrow(_CHANNELS, inputs, sizes.replicated)
            gx = _part(gx, 0, inputs)
            gx.narrow(_CHANNELS, 0, sizes.replicated).add_(repeated)
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
    """A permutation of the channels, whose gradient is the inverse permutation and no sum.

    Where channels are left out (padding), ``inverse`` gives them the gradient of any channel: what made them has
    zero weights, of which nobody takes the gradient.
    """

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
    shape, kind = (n, order.shape[0], h, w), torch.channels_last
    out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=kind)  # no view: it may be changed in place
    rows = out.permute(0, 2, 3, 1).view(n * h * w, shape[1])
    torch.index_select(x.permute(0, 2, 3, 1).reshape(n * h * w, c), 1, order, out=rows)
    return out


def _needs_stock_operators() -> bool:
    """Whether somebody else has to know the derivatives: a compiler that records, or a transform of ``torch.func``."""
    recorded = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return recorded or torch._C._are_functorch_transforms_active()  # what autograd.Function itself asks


def _reorder(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
    if _needs_stock_operators():
        return x.index_select(_CHANNELS, order)
    reordered: Tensor = _Reordered.apply(x, order, inverse)
    return reordered


class Reorder(IndexBuffers):
    """The interleave ``order`` on ``(N, C, H, W)``, in the memory format of its input in both directions.

    >>> Reorder([0, 2, 1, 3])(torch.arange(4.0).view(1, 4, 1, 1)).flatten().tolist()
    [0.0, 2.0, 1.0, 3.0]
    """

    order: Tensor
    inverse: Tensor

    def __init__(self, order: Sequence[int], device: torch.device | None = None) -> None:
        super().__init__()
        self.set_indices_("order", order, device)
        self.set_indices_("inverse", sorted(range(len(order)), key=order.__getitem__), device)

    def forward(self, x: Tensor) -> Tensor:
        return _reorder(x, self.order, self.inverse)


class MergedGroups(IndexBuffers):
    """Computes a grouped layer in merged groups, with weights that the caller holds and that get the gradients.

    Called with the input ``(N, in_channels, H, W)`` and the convolutions of the first and, where there is one, second
    path.

    Args:
        layout: of the grouped layer.
        merging: its groups as they are computed.
        stride: of the convolutions.
        order: the interleave before the layer, where a dense ``merging`` takes it in.
        device: of the indices.

    Raises:
        PlanError: where ``merging`` does not fit ``layout``.
    """

    first_cells: Tensor | None
    second_cells: Tensor | None
    rows: Tensor | None
    filter_of: Tensor | None

    def __init__(
        self,
        layout: GroupedLayout,
        merging: GroupMerging,
        stride: tuple[int, ...] = (1, 1),
        order: Sequence[int] | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        merging.check(layout)
        if order is not None and not merging.is_dense:
            raise PlanError("only one dense convolution takes an interleave in")
        self.merging = merging
        self.has_order = order is not None
        sliced = layout.extra_groups * layout.group_width
        replicated = 0 if merging.is_dense else layout.replicated
        self.sizes = _Sizes(tuple(stride), merging.first, merging.second, replicated, sliced)
        first, second = place_paths(layout, merging, order)
        self.shapes = (first.shape, second.shape)
        rows = first.rows if merging.second else first.rows + second.rows
        padded = rows != list(range(first.shape[0]))
        places: dict[str, list[int] | None] = {
            "first_cells": first.cells,
            "second_cells": second.cells,
            "rows": rows if padded else None,
            "filter_of": filters_of_rows(rows, first.shape[0]) if padded else None,
        }
        for name, found in places.items():
            self.set_indices_(name, found, device)

    def forward(self, x: Tensor, first: nn.Module, second: nn.Module | None = None) -> Tensor:
        weights: list[Tensor] = [first.weight] if second is None else [first.weight, second.weight]  # type: ignore[list-item]
        biases: list[Tensor | None] = [first.bias] if second is None else [first.bias, second.bias]  # type: ignore[list-item]
        if self.sizes.second:
            weights = [_laid_out([weights[0]], [self.first_cells], self.shapes[0]),
                       _laid_out([weights[1]], [self.second_cells], self.shapes[1])]  # fmt: skip
        else:
            weights = [_laid_out(weights, [self.first_cells, self.second_cells], self.shapes[0])]
            biases = [self._concat_channels(biases)]
        out = self._convolved(x, weights, biases)
        if self.rows is None or self.filter_of is None:
            return out
        return _reorder(out, self.rows, self.filter_of)

    def _concat_channels(self, biases: Sequence[Tensor | None]) -> Tensor | None:
        found = [bias for bias in biases if bias is not None]
        if not found:
            return None
        joined = torch.cat(found) if len(found) > 1 else found[0]
        return joined if self.rows is None else joined.new_zeros(self.shapes[0][0]).index_copy(0, self.rows, joined)

    def _convolved(self, x: Tensor, weights: list[Tensor], biases: list[Tensor | None]) -> Tensor:
        sizes = self.sizes
        if not sizes.second and not sizes.replicated:
            return F.conv2d(x, weights[0], biases[0], sizes.stride, groups=sizes.first)
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
            x, weights = x.to(dtype), [weight.to(dtype) for weight in weights]
            biases = [None if bias is None else bias.to(dtype) for bias in biases]
        if _needs_stock_operators():
            return _both_paths(x, weights, biases, sizes)
        second = (weights[1], biases[1]) if sizes.second else (None, None)
        out: Tensor = _Paths.apply(x, weights[0], biases[0], *second, sizes)
        return out

    def extra_repr(self) -> str:
        return f"{self.merging.first}, {self.merging.second}"


def _laid_out(weights: Sequence[Tensor], places: Sequence[Tensor | None], shape: tuple[int, int]) -> Tensor:
    """The weights of one or both paths in their cells of one weight of this shape, zeros elsewhere."""
    if places[0] is None:
        return weights[0]
    laid_out = weights[0].new_zeros(shape[0] * shape[1])
    for weight, cells in zip(weights, places, strict=False):
        assert cells is not None
        laid_out = laid_out.index_copy(0, cells, weight.flatten())
    return laid_out.view(*shape, 1, 1)
