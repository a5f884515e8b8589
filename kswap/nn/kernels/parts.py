"""What the kernels share: which pixel, which channel, which activation."""
# Without `from __future__ import annotations`: Triton reads the annotations of its functions.

import triton
import triton.language as tl

# The numbers of the activations in the kernels, by their names in kswap.planner.activations.
ACTIVATION_NUMBERS = {
    "identity": 0,
    "relu": 1,
    "relu6": 2,
    "silu": 3,
    "hard_swish": 4,
    "hard_sigmoid": 5,
    "sigmoid": 6,
    "gelu": 7,
    "tanh": 8,
}


@triton.jit
def pixel_offsets(pixel, height, width, of_sample, of_row, of_column):
    """Where each pixel of a batch lies, in elements and without its channel; the arguments ``of_`` are strides."""
    sample = (pixel // (height * width)).to(tl.int64)
    place = pixel % (height * width)
    return sample * of_sample + (place // width).to(tl.int64) * of_row + (place % width).to(tl.int64) * of_column


@triton.jit
def interleaved(place, CHANNELS: tl.constexpr, STEP: tl.constexpr):
    """The channel at each place after an interleave with ``STEP``: 0, s, 2s, ..., 1, 1 + s, ..."""
    if STEP == 1:
        channel = place
    else:
        SHORT: tl.constexpr = CHANNELS // STEP  # each of the first CHANNELS % STEP runs is longer by one
        LONG: tl.constexpr = (CHANNELS % STEP) * (SHORT + 1)
        later = place - LONG
        in_long = place % (SHORT + 1) * STEP + place // (SHORT + 1)
        if SHORT == 0:
            channel = in_long
        else:
            in_short = later % SHORT * STEP + later // SHORT + CHANNELS % STEP
            channel = tl.where(place < LONG, in_long, in_short)
    return channel


@triton.jit
def filter_of(group, row, GROUPS: tl.constexpr, FILTERS: tl.constexpr):
    """The filter in each row of a group: those of the first path, then the one of the second path."""
    return tl.where(row < FILTERS, group * FILTERS + row, GROUPS * FILTERS + group)


@triton.jit
def is_filter(group, row, FILTERS: tl.constexpr, EXTRA: tl.constexpr):
    """Whether a group has a filter in a row: the first ``EXTRA`` groups have one more than ``FILTERS``."""
    return row < FILTERS + tl.where(group < EXTRA, 1, 0)


@triton.jit
def product(left, right, total, WITH_DOT: tl.constexpr):
    """``total + left @ right``, in the precision of ``total``."""
    if WITH_DOT:
        total = tl.dot(left, right, total, input_precision="ieee")
    else:
        total += tl.sum(left.to(total.dtype)[:, :, None] * right.to(total.dtype)[None, :, :], 1)
    return total


@triton.jit
def activated(x, ACTIVATION: tl.constexpr):
    """The activation of a number in ACTIVATION_NUMBERS; NaN stays NaN."""
    if ACTIVATION == 1:
        x = tl.where(x < 0, 0.0, x)
    elif ACTIVATION == 2:
        x = tl.where(x < 0, 0.0, tl.where(x > 6, 6.0, x))
    elif ACTIVATION == 3:
        x = x / (1.0 + tl.exp(-x))
    elif ACTIVATION == 4:
        x = x * tl.where(x < -3, 0.0, tl.where(x > 3, 6.0, x + 3.0)) / 6.0
    elif ACTIVATION == 5:
        x = tl.where(x < -3, 0.0, tl.where(x > 3, 6.0, x + 3.0)) / 6.0
    elif ACTIVATION == 6:
        x = 1.0 / (1.0 + tl.exp(-x))
    elif ACTIVATION == 7:
        x = x * 0.5 * (1.0 + tl.erf(x * 0.7071067811865476))
    elif ACTIVATION == 8:
        x = 2.0 / (1.0 + tl.exp(-2.0 * x)) - 1.0
    return x
