"""From tensors to kernels: shapes, strides, sizes of blocks, and what is tuned on a device."""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor, library

from kswap.nn.kernels import block, layer
from kswap.nn.kernels.parts import ACTIVATION_NUMBERS
from kswap.planner.layout import GroupedLayout

# tl.dot needs 16 rows, columns and inner numbers, and pads with zeros: with fewer rows, plain sums do less.
_DOT = 16
_MOST_ROWS = 64
_MOST_COLUMNS = 64

# The gradient of a weight is summed over at most so many parts, which run side by side.
_SPLITS = 64


def _config(pixels: int, warps: int, **sizes: int) -> triton.Config:
    return triton.Config({"BLOCK_PIXELS": pixels, **sizes}, num_warps=warps)


# Few, since each is compiled anew for each layout, which takes seconds.
_WITH_INPUTS = [_config(32, 4, BLOCK_INPUTS=2), _config(32, 4, BLOCK_INPUTS=8), _config(64, 4, BLOCK_INPUTS=2)]
_WITH_INPUTS += [_config(64, 8, BLOCK_INPUTS=8)]
_PLAIN = [_config(32, 2), _config(64, 4), _config(128, 4), _config(128, 8)]

# Triton's interpreter has nothing to tune.
IS_INTERPRETED = not isinstance(block.block_forward, triton.runtime.JITFunction)
_INTERPRETED_SIZES = {"BLOCK_PIXELS": 32} if IS_INTERPRETED else {}
_LEAST_PIXELS_OF_SPLIT = 32 if IS_INTERPRETED else 1024
_INTERPRETED_INPUTS = {"BLOCK_INPUTS": 4} if IS_INTERPRETED else {}


def _tuned(kernel: Any, configs: list[triton.Config], *key: str) -> Any:
    """``kernel``, which measures ``configs`` on the device at the first call with other sizes or memory format."""
    return kernel if IS_INTERPRETED else triton.autotune(configs, ["pixels", *key])(kernel)


_LAYER_KEY = ("INPUTS", "GROUPS", "FILTERS", "EXTRA", "WIDTH", "STEP", "IS_DOUBLE")
_block_forward = _tuned(
    block.block_forward, _WITH_INPUTS, "x_of_channel",
    "INPUTS", "OUTPUTS", "K_GROUPS", "K_FILTERS", "K_WIDTH", "L_GROUPS", "L_WIDTH", "STEP", "HAS_SUM", "IS_DOUBLE",
)  # fmt: skip
_layer_forward = _tuned(layer.layer_forward, _PLAIN, "x_of_channel", "BEFORE", "AFTER", *_LAYER_KEY)
_input_gradient = _tuned(layer.input_gradient, _PLAIN, "out_of_channel", *_LAYER_KEY)
_weight_gradient = _tuned(layer.weight_gradient, _PLAIN, "x_of_channel", "BEFORE", "SPLIT_PIXELS", *_LAYER_KEY)


def empty_output(x: Tensor, channels: int) -> Tensor:
    """A tensor ``(N, channels, H, W)`` in channels_last where the channels of ``x`` lie side by side."""
    n, inputs, height, width = x.shape
    side_by_side = inputs > 1 and x.stride(1) == 1
    kind = torch.channels_last if side_by_side else torch.contiguous_format
    return torch.empty((n, channels, height, width), dtype=x.dtype, device=x.device, memory_format=kind)


def _tiles(number: int, size: int) -> int:
    """How many tiles cover a number, which compilers may not know."""
    return (number + size - 1) // size


def _power(number: int, most: int, least: int = 1) -> int:
    """The next power of two, between two others."""
    return max(least, min(most, 1 << (number - 1).bit_length()))


def _rows(layout: GroupedLayout) -> int:
    """Filters of a group, that of the second path among them."""
    return layout.filters_per_group + (layout.extra_groups > 0)


def _blocks(rows: int, columns: int, x: Tensor) -> dict[str, Any]:
    """Sizes of the blocks of a matrix product, and whether it is one for ``tl.dot``."""
    with_dot = min(rows, columns) >= _DOT // 2 and x.dtype != torch.float64
    least = _DOT if with_dot else 1
    most = 1 if with_dot else 4  # sums hold all factors at a time
    return {
        "WITH_DOT": with_dot,
        "IS_DOUBLE": x.dtype == torch.float64,
        "BLOCK_ROWS": _power(rows, _MOST_ROWS // most, least),
        "BLOCK_COLUMNS": _power(columns, _MOST_COLUMNS // most, least),
    }


def _sizes(layout: GroupedLayout) -> dict[str, int]:
    return {
        "INPUTS": layout.in_channels,
        "GROUPS": layout.groups,
        "FILTERS": layout.filters_per_group,
        "EXTRA": layout.extra_groups,
        "WIDTH": layout.group_width,
    }


def _pixels(x: Tensor) -> tuple[int, int, int]:
    n, _, height, width = x.shape
    return n * height * width, height, width


def whole_block(
    x: Tensor,
    k: GroupedLayout,
    k_weight: Tensor,
    k_bias: Tensor | None,
    k_activation: str,
    l: GroupedLayout,  # noqa: E741 - K and L are the names of the papers
    l_weight: Tensor,
    l_bias: Tensor | None,
    l_activation: str,
    step: int,
    with_sum: bool,
) -> Tensor:
    """``k + act(L interleave(k))`` with ``k = act(K x)``, or the second summand alone; weights ``(filters, width)``."""
    y = empty_output(x, l.out_channels)
    pixels, height, width = _pixels(x)
    if not y.numel():
        return y
    rows = _rows(l)

    def grid(meta: dict[str, Any]) -> tuple[int, int]:
        return _tiles(pixels, meta["BLOCK_PIXELS"]), l.groups * _tiles(rows, meta["BLOCK_ROWS"])

    library.wrap_triton(_block_forward)[grid](
        x, k_weight, _or(k_bias, k_weight), l_weight, _or(l_bias, l_weight), y,
        pixels, height, width, *x.stride(), *y.stride(),
        INPUTS=k.in_channels,
        OUTPUTS=k.out_channels,
        K_GROUPS=k.groups,
        K_FILTERS=k.filters_per_group,
        K_WIDTH=k.group_width,
        L_GROUPS=l.groups,
        L_FILTERS=l.filters_per_group,
        L_EXTRA=l.extra_groups,
        L_WIDTH=l.group_width,
        STEP=step,
        K_ACTIVATION=ACTIVATION_NUMBERS[k_activation],
        L_ACTIVATION=ACTIVATION_NUMBERS[l_activation],
        K_HAS_BIAS=k_bias is not None,
        L_HAS_BIAS=l_bias is not None,
        HAS_SUM=with_sum,
        **_blocks(rows, l.group_width, x),
        **_INTERPRETED_SIZES,
        **_INTERPRETED_INPUTS,
    )  # fmt: skip
    return y


def one_layer(
    x: Tensor,
    layout: GroupedLayout,
    weight: Tensor,
    bias: Tensor | None,
    after: str = "identity",
    step: int = 1,
    before: str = "identity",
    scale_and_shift: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """``after(weight @ before(scale * x + shift) + bias)``, inputs read in the order of an interleave with ``step``."""
    y = empty_output(x, layout.out_channels)
    pixels, height, width = _pixels(x)
    if not y.numel():
        return y
    rows = _rows(layout)
    scale, shift = scale_and_shift or (weight, weight)

    def grid(meta: dict[str, Any]) -> tuple[int, int]:
        return _tiles(pixels, meta["BLOCK_PIXELS"]), layout.groups * _tiles(rows, meta["BLOCK_ROWS"])

    library.wrap_triton(_layer_forward)[grid](
        x, weight, _or(bias, weight), scale, shift, y,
        pixels, height, width, *x.stride(), *y.stride(),
        **_sizes(layout),
        OUTPUTS=layout.out_channels,
        STEP=step,
        BEFORE=ACTIVATION_NUMBERS[before],
        AFTER=ACTIVATION_NUMBERS[after],
        HAS_BIAS=bias is not None,
        HAS_SCALE=scale_and_shift is not None,
        **_blocks(rows, layout.group_width, x),
        **_INTERPRETED_SIZES,
    )  # fmt: skip
    return y


def gradient_of_input(grad: Tensor, layout: GroupedLayout, weight: Tensor, step: int = 1) -> Tensor:
    """The gradient of what a layer reads, after scale, shift and activation, in the order of its channels."""
    out = empty_output(grad, layout.in_channels)
    pixels, height, width = _pixels(grad)
    if not out.numel():
        return out

    def grid(meta: dict[str, Any]) -> tuple[int, int]:
        tiles = _tiles(layout.group_width, meta["BLOCK_COLUMNS"])
        return _tiles(pixels, meta["BLOCK_PIXELS"]), layout.groups * tiles

    library.wrap_triton(_input_gradient)[grid](
        grad, weight, out, pixels, height, width, *grad.stride(), *out.stride(),
        **_sizes(layout),
        STEP=step,
        **_blocks(_rows(layout), layout.group_width, grad),
        **_INTERPRETED_SIZES,
    )  # fmt: skip
    return out


def gradient_of_weight(
    grad: Tensor,
    x: Tensor,
    layout: GroupedLayout,
    step: int = 1,
    before: str = "identity",
    scale_and_shift: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The gradient of the weight of a layer, ``(filters, width)``, of at least float32; always the same sum."""
    pixels, height, width = _pixels(x)
    exact = torch.float64 if x.dtype == torch.float64 else torch.float32
    shape = (layout.out_channels, layout.group_width)
    if not pixels:
        return torch.zeros(shape, dtype=exact, device=x.device)
    split = _power(int(_tiles(pixels, _SPLITS)), 1 << 30, _LEAST_PIXELS_OF_SPLIT)
    splits, rows = _tiles(pixels, split), _rows(layout)
    out = torch.empty((splits, *shape), dtype=exact, device=x.device)
    scale, shift = scale_and_shift or (out, out)

    def grid(meta: dict[str, Any]) -> tuple[int, int]:
        tiles = _tiles(rows, meta["BLOCK_ROWS"]) * _tiles(layout.group_width, meta["BLOCK_COLUMNS"])
        return splits, layout.groups * tiles

    library.wrap_triton(_weight_gradient)[grid](
        grad, x, scale, shift, out,
        pixels, height, width, *grad.stride(), *x.stride(), out.stride(0),
        **_sizes(layout),
        STEP=step,
        BEFORE=ACTIVATION_NUMBERS[before],
        HAS_SCALE=scale_and_shift is not None,
        SPLIT_PIXELS=split,
        **_blocks(rows, layout.group_width, x),
        **_INTERPRETED_SIZES,
    )  # fmt: skip
    return out.sum(0)


def _or(tensor: Tensor | None, other: Tensor) -> Tensor:
    """A pointer that the kernel does not read, where there is no tensor."""
    return other if tensor is None else tensor
