"""The kernel of a whole block: K, what follows it, the interleave, L, what follows it, and the sum, in one pass.

A filter of L reads ``L_WIDTH`` outputs of K, and an output of K is read by one group of L, or by two where channels are
replicated. So a program that computes one group of L for a tile of pixels computes the outputs of K that it reads
itself, and nothing of K is written to memory. The filter of the second path reads what its group reads, and is one
more row of it. The interleave is the channel at which K is computed. For the sum, the outputs of K at the filters of
the program are computed once more.
"""
# Without `from __future__ import annotations`: Triton reads the annotations of its functions.

import triton
import triton.language as tl

from kswap.nn.kernels.parts import activated, filter_of, interleaved, is_filter, pixel_offsets, product


@triton.jit
def _outputs_of_k(
    x_ptr,
    weight_ptr,
    bias_ptr,
    at,
    is_pixel,
    channel,
    is_channel,
    of_channel,
    INPUTS: tl.constexpr,
    GROUPS: tl.constexpr,
    FILTERS: tl.constexpr,
    WIDTH: tl.constexpr,
    ACTIVATION: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr,
    BLOCK_INPUTS: tl.constexpr,
):
    """The outputs ``channel`` of K at pixels, with bias and activation: ``(BLOCK_CHANNELS, BLOCK_PIXELS)``."""
    group = tl.where(channel < GROUPS * FILTERS, channel // FILTERS, channel - GROUPS * FILTERS)
    total = tl.zeros((BLOCK_CHANNELS, BLOCK_PIXELS), PRECISION)
    for start in range(0, WIDTH, BLOCK_INPUTS):
        column = start + tl.arange(0, BLOCK_INPUTS)
        is_read = is_channel[:, None] & (column < WIDTH)[None, :]
        source = (group[:, None] * WIDTH + column[None, :]) % INPUTS
        weight = tl.load(weight_ptr + channel[:, None] * WIDTH + column[None, :], mask=is_read, other=0.0)
        x = tl.load(
            x_ptr + at[None, None, :] + source.to(tl.int64)[:, :, None] * of_channel,
            mask=is_read[:, :, None] & is_pixel[None, None, :],
            other=0.0,
        )
        total += tl.sum(weight.to(PRECISION)[:, :, None] * x.to(PRECISION), 1)
    if HAS_BIAS:
        total += tl.load(bias_ptr + channel, mask=is_channel, other=0.0).to(PRECISION)[:, None]
    return activated(total, ACTIVATION)


@triton.jit
def block_forward(
    x_ptr,
    k_weight_ptr,
    k_bias_ptr,
    l_weight_ptr,
    l_bias_ptr,
    y_ptr,
    pixels,
    height,
    width,
    x_of_sample,
    x_of_channel,
    x_of_row,
    x_of_column,
    y_of_sample,
    y_of_channel,
    y_of_row,
    y_of_column,
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    K_GROUPS: tl.constexpr,
    K_FILTERS: tl.constexpr,
    K_WIDTH: tl.constexpr,
    L_GROUPS: tl.constexpr,
    L_FILTERS: tl.constexpr,
    L_EXTRA: tl.constexpr,
    L_WIDTH: tl.constexpr,
    STEP: tl.constexpr,
    K_ACTIVATION: tl.constexpr,
    L_ACTIVATION: tl.constexpr,
    K_HAS_BIAS: tl.constexpr,
    L_HAS_BIAS: tl.constexpr,
    HAS_SUM: tl.constexpr,
    IS_DOUBLE: tl.constexpr,
    WITH_DOT: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_INPUTS: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr,
):
    """``k + act(L interleave(k))`` with ``k = act(K x)``, for a tile of pixels and the rows of one group of L.

    Weights are ``(filters, width)``, both paths after each other. The grid is tiles of pixels, and tiles of rows of
    all groups.
    """
    PRECISION: tl.constexpr = tl.float64 if IS_DOUBLE else tl.float32
    tiles: tl.constexpr = (L_FILTERS + (L_EXTRA > 0) + BLOCK_ROWS - 1) // BLOCK_ROWS
    pixel = tl.program_id(0).to(tl.int64) * BLOCK_PIXELS + tl.arange(0, BLOCK_PIXELS)
    is_pixel = pixel < pixels
    at = pixel_offsets(pixel, height, width, x_of_sample, x_of_row, x_of_column)
    group = tl.program_id(1) // tiles
    row = tl.program_id(1) % tiles * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    is_row = is_filter(group, row, L_FILTERS, L_EXTRA)
    filter = filter_of(group, row, L_GROUPS, L_FILTERS)
    total = tl.zeros((BLOCK_ROWS, BLOCK_PIXELS), PRECISION)
    for start in range(0, L_WIDTH, BLOCK_COLUMNS):
        column = start + tl.arange(0, BLOCK_COLUMNS)
        is_column = column < L_WIDTH
        channel = interleaved((group * L_WIDTH + column) % OUTPUTS, OUTPUTS, STEP)
        k = _outputs_of_k(
            x_ptr, k_weight_ptr, k_bias_ptr, at, is_pixel, channel, is_column, x_of_channel,
            INPUTS, K_GROUPS, K_FILTERS, K_WIDTH, K_ACTIVATION, K_HAS_BIAS, PRECISION,
            BLOCK_COLUMNS, BLOCK_PIXELS, BLOCK_INPUTS,
        )  # fmt: skip
        k = tl.where(is_column[:, None], k, 0.0)  # an activation need not map 0 to 0
        weight = tl.load(
            l_weight_ptr + filter[:, None] * L_WIDTH + column[None, :],
            mask=is_row[:, None] & is_column[None, :],
            other=0.0,
        )
        total = product(weight, k.to(weight.dtype), total, WITH_DOT)
    if L_HAS_BIAS:
        total += tl.load(l_bias_ptr + filter, mask=is_row, other=0.0).to(PRECISION)[:, None]
    total = activated(total, L_ACTIVATION)
    if HAS_SUM:
        total += _outputs_of_k(
            x_ptr, k_weight_ptr, k_bias_ptr, at, is_pixel, filter, is_row, x_of_channel,
            INPUTS, K_GROUPS, K_FILTERS, K_WIDTH, K_ACTIVATION, K_HAS_BIAS, PRECISION,
            BLOCK_ROWS, BLOCK_PIXELS, BLOCK_INPUTS,
        )  # fmt: skip
    to = pixel_offsets(pixel, height, width, y_of_sample, y_of_row, y_of_column)
    tl.store(
        y_ptr + to[None, :] + filter.to(tl.int64)[:, None] * y_of_channel,
        total.to(y_ptr.dtype.element_ty),
        mask=is_row[:, None] & is_pixel[None, :],
    )
