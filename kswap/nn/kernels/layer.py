"""The kernels of one grouped layer: forward, gradient of the input, gradient of the weight.

Inputs may be read in the order of an interleave, and through a scale, a shift and an activation, so that none of the
three is written to memory. Replicated channels are read twice and copied never; the filter of the second path is one
more row of its group. Weights are ``(filters, width)``, both paths after each other.
"""
# Without `from __future__ import annotations`: Triton reads the annotations of its functions.

import triton
import triton.language as tl

from kswap.nn.kernels.parts import activated, filter_of, interleaved, is_filter, pixel_offsets, product


@triton.jit
def _read(
    x_ptr, scale_ptr, shift_ptr, at, is_pixel, channel, is_channel, of_channel,
    ACTIVATION: tl.constexpr, HAS_SCALE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The inputs of a layer, ``(channels, pixels)``, in their own precision; 0 where there is none."""
    is_read = is_channel[:, None] & is_pixel[None, :]
    x = tl.load(x_ptr + at[None, :] + channel.to(tl.int64)[:, None] * of_channel, mask=is_read, other=0.0)
    if HAS_SCALE or ACTIVATION != 0:
        value = x.to(PRECISION)
        if HAS_SCALE:
            scale = tl.load(scale_ptr + channel, mask=is_channel, other=0.0).to(PRECISION)
            shift = tl.load(shift_ptr + channel, mask=is_channel, other=0.0).to(PRECISION)
            value = value * scale[:, None] + shift[:, None]
        x = tl.where(is_read, activated(value, ACTIVATION), 0.0).to(x.dtype)
    return x


@triton.jit
def layer_forward(
    x_ptr,
    weight_ptr,
    bias_ptr,
    scale_ptr,
    shift_ptr,
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
    GROUPS: tl.constexpr,
    FILTERS: tl.constexpr,
    EXTRA: tl.constexpr,
    WIDTH: tl.constexpr,
    STEP: tl.constexpr,
    BEFORE: tl.constexpr,
    AFTER: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_SCALE: tl.constexpr,
    IS_DOUBLE: tl.constexpr,
    WITH_DOT: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr,
):
    """``after(weight @ before(scale * x + shift) + bias)``, for a tile of pixels and the rows of one group.

    ``STEP`` is that of the interleave in which inputs are read; 1 is none.
    """
    PRECISION: tl.constexpr = tl.float64 if IS_DOUBLE else tl.float32
    tiles: tl.constexpr = (FILTERS + (EXTRA > 0) + BLOCK_ROWS - 1) // BLOCK_ROWS
    pixel = tl.program_id(0).to(tl.int64) * BLOCK_PIXELS + tl.arange(0, BLOCK_PIXELS)
    is_pixel = pixel < pixels
    at = pixel_offsets(pixel, height, width, x_of_sample, x_of_row, x_of_column)
    group = tl.program_id(1) // tiles
    row = tl.program_id(1) % tiles * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    is_row = is_filter(group, row, FILTERS, EXTRA)
    filter = filter_of(group, row, GROUPS, FILTERS)
    total = tl.zeros((BLOCK_ROWS, BLOCK_PIXELS), PRECISION)
    for start in range(0, WIDTH, BLOCK_COLUMNS):
        column = start + tl.arange(0, BLOCK_COLUMNS)
        is_column = column < WIDTH
        channel = interleaved((group * WIDTH + column) % INPUTS, INPUTS, STEP)
        x = _read(
            x_ptr, scale_ptr, shift_ptr, at, is_pixel, channel, is_column, x_of_channel, BEFORE, HAS_SCALE, PRECISION
        )
        weight = tl.load(
            weight_ptr + filter[:, None] * WIDTH + column[None, :],
            mask=is_row[:, None] & is_column[None, :],
            other=0.0,
        )
        total = product(weight, x, total, WITH_DOT)
    if HAS_BIAS:
        total += tl.load(bias_ptr + filter, mask=is_row, other=0.0).to(PRECISION)[:, None]
    to = pixel_offsets(pixel, height, width, y_of_sample, y_of_row, y_of_column)
    tl.store(
        y_ptr + to[None, :] + filter.to(tl.int64)[:, None] * y_of_channel,
        activated(total, AFTER).to(y_ptr.dtype.element_ty),
        mask=is_row[:, None] & is_pixel[None, :],
    )


@triton.jit
def input_gradient(
    grad_ptr,
    weight_ptr,
    out_ptr,
    pixels,
    height,
    width,
    grad_of_sample,
    grad_of_channel,
    grad_of_row,
    grad_of_column,
    out_of_sample,
    out_of_channel,
    out_of_row,
    out_of_column,
    INPUTS: tl.constexpr,
    GROUPS: tl.constexpr,
    FILTERS: tl.constexpr,
    EXTRA: tl.constexpr,
    WIDTH: tl.constexpr,
    STEP: tl.constexpr,
    IS_DOUBLE: tl.constexpr,
    WITH_DOT: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr,
):
    """The gradient of what the layer reads, after scale, shift and activation, for the columns of one group.

    A channel at a place below ``INPUTS`` is written by the program of that place, which adds up the groups that read
    its replicas, too: nothing is added in memory, and the result does not depend on the order of the programs.
    """
    PRECISION: tl.constexpr = tl.float64 if IS_DOUBLE else tl.float32
    tiles: tl.constexpr = (WIDTH + BLOCK_COLUMNS - 1) // BLOCK_COLUMNS
    ROWS: tl.constexpr = FILTERS + (EXTRA > 0)
    PLACES: tl.constexpr = GROUPS * WIDTH
    pixel = tl.program_id(0).to(tl.int64) * BLOCK_PIXELS + tl.arange(0, BLOCK_PIXELS)
    is_pixel = pixel < pixels
    at = pixel_offsets(pixel, height, width, grad_of_sample, grad_of_row, grad_of_column)
    group = tl.program_id(1) // tiles
    column = tl.program_id(1) % tiles * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    place = group * WIDTH + column
    is_place = (column < WIDTH) & (place < INPUTS)
    total = tl.zeros((BLOCK_COLUMNS, BLOCK_PIXELS), PRECISION)
    for start in range(0, ROWS, BLOCK_ROWS):
        row = start + tl.arange(0, BLOCK_ROWS)
        is_row = is_filter(group, row, FILTERS, EXTRA)
        filter = filter_of(group, row, GROUPS, FILTERS)
        weight = tl.load(
            weight_ptr + filter[None, :] * WIDTH + column[:, None],
            mask=is_row[None, :] & is_place[:, None],
            other=0.0,
        )
        grad = tl.load(
            grad_ptr + at[None, :] + filter.to(tl.int64)[:, None] * grad_of_channel,
            mask=is_row[:, None] & is_pixel[None, :],
            other=0.0,
        )
        total = product(weight, grad, total, WITH_DOT)
    least = group * WIDTH + tl.program_id(1) % tiles * BLOCK_COLUMNS
    for replica in range(1, (PLACES - least + INPUTS - 1) // INPUTS):
        other = place + replica * INPUTS
        is_replica = is_place & (other < PLACES)
        of_group = other // WIDTH
        for row in range(ROWS):
            is_read = is_replica & is_filter(of_group, row, FILTERS, EXTRA)
            filter = filter_of(of_group, row, GROUPS, FILTERS)
            weight = tl.load(weight_ptr + filter * WIDTH + other % WIDTH, mask=is_read, other=0.0)
            grad = tl.load(
                grad_ptr + at[None, :] + filter.to(tl.int64)[:, None] * grad_of_channel,
                mask=is_read[:, None] & is_pixel[None, :],
                other=0.0,
            )
            total += weight.to(PRECISION)[:, None] * grad.to(PRECISION)
    channel = interleaved(place, INPUTS, STEP)
    to = pixel_offsets(pixel, height, width, out_of_sample, out_of_row, out_of_column)
    tl.store(
        out_ptr + to[None, :] + channel.to(tl.int64)[:, None] * out_of_channel,
        total.to(out_ptr.dtype.element_ty),
        mask=is_place[:, None] & is_pixel[None, :],
    )


@triton.jit
def weight_gradient(
    grad_ptr,
    x_ptr,
    scale_ptr,
    shift_ptr,
    out_ptr,
    pixels,
    height,
    width,
    grad_of_sample,
    grad_of_channel,
    grad_of_row,
    grad_of_column,
    x_of_sample,
    x_of_channel,
    x_of_row,
    x_of_column,
    of_split,
    INPUTS: tl.constexpr,
    GROUPS: tl.constexpr,
    FILTERS: tl.constexpr,
    EXTRA: tl.constexpr,
    WIDTH: tl.constexpr,
    STEP: tl.constexpr,
    BEFORE: tl.constexpr,
    HAS_SCALE: tl.constexpr,
    IS_DOUBLE: tl.constexpr,
    WITH_DOT: tl.constexpr,
    SPLIT_PIXELS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr,
):
    """The gradient of the weight over ``SPLIT_PIXELS`` pixels, ``(filters, width)``; the sum over all splits is it."""
    PRECISION: tl.constexpr = tl.float64 if IS_DOUBLE else tl.float32
    row_tiles: tl.constexpr = (FILTERS + (EXTRA > 0) + BLOCK_ROWS - 1) // BLOCK_ROWS
    column_tiles: tl.constexpr = (WIDTH + BLOCK_COLUMNS - 1) // BLOCK_COLUMNS
    group = tl.program_id(1) // (row_tiles * column_tiles)
    tile = tl.program_id(1) % (row_tiles * column_tiles)
    row = tile // column_tiles * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    column = tile % column_tiles * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    is_row = is_filter(group, row, FILTERS, EXTRA)
    is_column = column < WIDTH
    filter = filter_of(group, row, GROUPS, FILTERS)
    channel = interleaved((group * WIDTH + column) % INPUTS, INPUTS, STEP)
    total = tl.zeros((BLOCK_ROWS, BLOCK_COLUMNS), PRECISION)
    first = tl.program_id(0).to(tl.int64) * SPLIT_PIXELS
    for start in range(0, SPLIT_PIXELS, BLOCK_PIXELS):
        pixel = first + start + tl.arange(0, BLOCK_PIXELS)
        is_pixel = pixel < pixels
        at = pixel_offsets(pixel, height, width, grad_of_sample, grad_of_row, grad_of_column)
        grad = tl.load(
            grad_ptr + at[None, :] + filter.to(tl.int64)[:, None] * grad_of_channel,
            mask=is_row[:, None] & is_pixel[None, :],
            other=0.0,
        )
        at = pixel_offsets(pixel, height, width, x_of_sample, x_of_row, x_of_column)
        x = _read(
            x_ptr, scale_ptr, shift_ptr, at, is_pixel, channel, is_column, x_of_channel, BEFORE, HAS_SCALE, PRECISION
        )
        total = product(grad, tl.trans(x), total, WITH_DOT)
    tl.store(
        out_ptr + tl.program_id(0).to(tl.int64) * of_split + filter[:, None] * WIDTH + column[None, :],
        total,
        mask=is_row[:, None] & is_column[None, :],
    )
