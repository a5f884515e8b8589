"""Sizes of inputs, checked before anything of that size is made."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kswap.errors import KswapError, excerpt

# One float32 input of this many numbers takes a gigabyte; the largest of timm takes 3 x 1024 x 1024.
MOST_NUMBERS = 2**28


def check_input_size(size: Sequence[int], what: str, error: type[KswapError]) -> tuple[int, ...]:
    """The size as a tuple. Raises ``error`` for one that is not positive, or too large for any machine.

    >>> check_input_size([3, 224, 224], "input_size", KswapError)
    (3, 224, 224)
    >>> check_input_size([3, -1, 224], "input_size", KswapError)
    Traceback (most recent call last):
    kswap.errors.KswapError: input_size must hold positive whole numbers, not 3, -1, 224
    """
    if any(type(n) is not int or n < 1 for n in size):
        raise error(f"{what} must hold positive whole numbers, not {excerpt(', '.join(map(repr, size[:4])), 40)}")
    if any(n > MOST_NUMBERS for n in size) or math.prod(size[:16]) > MOST_NUMBERS or len(size) > 16:
        raise error(f"{what} is too large: at most {MOST_NUMBERS:,} numbers")
    return tuple(size)
