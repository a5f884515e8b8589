"""Grouped layers by quicker operators than PyTorch's grouped convolution, over the same parameters.

On a CPU, PyTorch computes a grouped convolution of few samples group after group, and in larger batches one with few
filters in a group is slow for its size; a second path copies its inputs, and their gradients are tensors of zeros.
Two forms are quicker. On contiguous inputs a grouped pointwise convolution is a batched matrix product, one matrix
per group. On inputs in channels_last it is a convolution in fewer and larger groups (see
:class:`kswap.nn.group_merging.GroupMerging`). What is here holds no parameters, buffers or modules.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

from kswap.nn.group_merging import GroupMerging
from kswap.planner.layer_plan import interleave_order
from kswap.planner.layout import GroupedLayout

_CHANNELS = 1  # the dimension of the channels in (N, C, H, W)

_REMEMBERED = 4096  # index tensors: one for each different layer of the models of a process


def operators_are_free(x: Tensor, *layers: nn.Module | None) -> bool:
    """Whether nobody but autograd sees which operators compute ``layers`` on ``x``, so that others may do it.

    Compilers, exporters, counters of operators and the transforms of ``torch.func`` see the plain grouped
    convolution, and layers that carry hooks, a parametrization or a forward pass of their own are called themselves.
    """
    return (
        not torch.compiler.is_compiling()
        and is_unobserved(x)
        and not any(layer is not None and is_altered(layer) for layer in layers)
    )


def is_unobserved(x: Tensor) -> bool:
    """Whether nobody but autograd, or a compiler, sees the operators that run on ``x``."""
    return not (
        type(x) is not Tensor
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack()
        or forward_ad._current_level >= 0
        or nn.modules.module._has_any_global_hook()  # type: ignore[no-untyped-call]
    )


def is_altered(layer: nn.Module, kind: type[nn.Module] = nn.Conv2d) -> bool:
    """Whether a layer is of another class than ``kind``, or carries hooks or a forward pass of its own."""
    return bool(
        type(layer) is not kind
        or layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
        or "forward" in vars(layer)
    )


def on_plain_cpu(x: Tensor) -> bool:
    """Whether ``x`` is computed with in single or double precision on a CPU, where the choices were measured."""
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")


def merged_conv(
    x: Tensor, layout: GroupedLayout, merging: GroupMerging, first: nn.Module, second: nn.Module | None
) -> Tensor:
    """The grouped layer ``layout`` of ``x``, ``(N, in_channels, H, W)``, computed in merged groups.

    ``first`` and ``second`` are the convolutions of its two paths. The output has the memory format of ``x``.
    """
    assert isinstance(first, nn.Conv2d)
    assert second is None or isinstance(second, nn.Conv2d)
    weight = _joined_weight(layout, merging, first, second)
    if layout.replicated and not merging.is_dense:
        x = torch.cat([x, x.narrow(_CHANNELS, 0, layout.replicated)], _CHANNELS)
    if x.is_contiguous() and on_plain_cpu(x):
        strided = x[:, :, :: first.stride[0], :: first.stride[1]] if max(first.stride) > 1 else x
        out = _product(strided, weight, merging.groups)
    else:
        out = F.conv2d(x, weight.view(*weight.shape, 1, 1), None, first.stride, groups=merging.groups)
    places = _rows(layout, merging, x.device)
    if places is not None:
        out = _reorder(out, *places)
    bias = first.bias if second is None else second.bias
    if first.bias is None or bias is None:
        return out
    joined = bias if second is None else torch.cat([first.bias, bias])
    return out + joined.to(out.dtype).view(-1, 1, 1)


def interleave(x: Tensor, channels: int, step: int) -> Tensor:
    """The channels of ``(N, C, H, W)`` in the order of the interleave, in the memory format of ``x``.

    >>> interleave(torch.arange(4.0).view(1, 4, 1, 1), 4, 2).flatten().tolist()
    [0.0, 2.0, 1.0, 3.0]
    """
    return _reorder(x, *_interleave(channels, step, x.device))


def _joined_weight(layout: GroupedLayout, merging: GroupMerging, first: nn.Conv2d, second: nn.Conv2d | None) -> Tensor:
    """The weights of both paths in one, ``(filters, inputs)``, with zeros where groups are merged or padded."""
    shape = merging.shape(layout)
    cells = _cells(layout, merging, first.weight.device)
    if cells is None:
        return first.weight.view(shape)
    weights = first.weight.flatten()
    if second is not None:
        weights = torch.cat([weights, second.weight.flatten()])
    return weights.new_zeros(shape[0] * shape[1]).index_copy(0, cells, weights).view(shape)


def _product(x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """A grouped pointwise convolution as a batched matrix product: one matrix for each group, and each sample."""
    n, _, h, w = x.shape
    matrices = weight.view(groups, -1, weight.shape[1])
    if n == 1:
        return torch.bmm(matrices, x.reshape(groups, -1, h * w)).view(1, -1, h, w)
    if h * w == 1:  # the samples are the columns: squeeze-and-excite
        rows = x.reshape(n, groups, -1).transpose(0, 1)
        return torch.bmm(rows, matrices.transpose(1, 2)).transpose(0, 1).contiguous().view(n, -1, 1, 1)
    out: Tensor = _Product.apply(x.reshape(n, groups, -1, h * w), matrices)
    return out.view(n, -1, h, w)


class _Product(torch.autograd.Function):
    """``weight @ x`` for ``(G, F, C)`` and ``(N, G, C, P)``, which keeps no copy of the weight for each sample."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return torch.matmul(weight, x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        (grad,) = gradients
        of_x = torch.matmul(weight.transpose(1, 2), grad) if ctx.needs_input_grad[0] else None
        of_weight = torch.matmul(grad, x.transpose(2, 3)).sum(0) if ctx.needs_input_grad[1] else None
        return of_x, of_weight


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
        return _reorder(gradients[0], inverse, order), None, None


def _reorder(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
    if not (x.requires_grad and torch.is_grad_enabled()):
        return _select(x, order)
    reordered: Tensor = _Reordered.apply(x, order, inverse)
    return reordered


def _select(x: Tensor, order: Tensor) -> Tensor:
    """``x[:, order]``; rows of channels are quicker to gather from than planes with strides."""
    if x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last):
        return x.index_select(_CHANNELS, order)
    n, c, h, w = x.shape
    shape, kind = (n, order.shape[0], h, w), torch.channels_last
    out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=kind)  # no view: it may be changed in place
    rows = out.permute(0, 2, 3, 1).view(n * h * w, shape[1])
    torch.index_select(x.permute(0, 2, 3, 1).reshape(n * h * w, c), 1, order, out=rows)
    return out


@lru_cache(_REMEMBERED)
def _cells(layout: GroupedLayout, merging: GroupMerging, device: torch.device) -> Tensor | None:
    """Where the weights lie, or ``None`` where the weight is used as it is."""
    if merging.groups == layout.groups and not layout.extra_groups:
        return None
    return _indices(merging.cells(layout), device)


@lru_cache(_REMEMBERED)
def _rows(layout: GroupedLayout, merging: GroupMerging, device: torch.device) -> tuple[Tensor, Tensor] | None:
    """The row of each filter and the filter in each row, any one in padding; or ``None`` where they are the same."""
    rows, height = merging.rows(layout), merging.shape(layout)[0]
    if rows == list(range(height)):
        return None
    filters = [0] * height
    for filter_, row in enumerate(rows):
        filters[row] = filter_
    return _indices(rows, device), _indices(filters, device)


@lru_cache(_REMEMBERED)
def _interleave(channels: int, step: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The order of an interleave, and its inverse."""
    order = interleave_order(channels, step)
    return _indices(order, device), _indices(sorted(range(channels), key=order.__getitem__), device)


def _indices(found: list[int], device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # made in inference mode, they could not take part in training later
        return torch.tensor(found, dtype=torch.long, device=device)
