"""Groups whose sizes are multiples of a number that a runtime wants: the rule, and why a layer cannot follow it."""

from __future__ import annotations

import math

from kswap.planner.block_plan import check_whole
from kswap.planner.layout import GroupedLayout

# More than any vector unit has lanes; keeps a number from a stranger from meaning something else.
MOST_LANES = 1024

# Wider groups have more weights than what they save in time is worth. 1152 -> 320 in ONNX Runtime at 7x7, Ch 16: 147
# microseconds in 72 groups, 200 in the 4 groups that are aligned, with nine times the weights.
MOST_WIDENING = 8


def check_align(align: object) -> int:
    """``align`` as a whole number from 2 to :data:`MOST_LANES`. Raises :class:`kswap.errors.PlanError`."""
    return check_whole(align, "align (multiple of channels and filters per group)", 2, MOST_LANES)


def aligned_to(align: int | None) -> dict[str, int]:
    """The setting as keys of a site in ``plan.json``: none where nothing is asked for, as in older plans."""
    return {} if align is None else {"align": align}


def fit_to(layout: GroupedLayout, ch: int, align: int | None) -> tuple[GroupedLayout, str]:
    """The groups that take the place of ``layout``, and why they are not aligned; no text where they are.

    ``layout`` itself where nothing is asked for, where it fits already, or where channel numbers allow nothing else.

    >>> fit_to(GroupedLayout.of(480, 80, ch=16), 16, 16)[0].short()
    '5x16'
    >>> fit_to(GroupedLayout.of(480, 40, ch=16), 16, 16)[1]
    'not aligned to 16: 40 filters are no multiple'
    """
    if align is None or layout.is_aligned(align):
        return layout, ""
    made = GroupedLayout.aligned(layout.in_channels, layout.out_channels, ch, align)
    if made is None or made.is_dense:
        return layout, f"not aligned to {align}: {_obstacle(layout.in_channels, layout.out_channels, ch, align)}"
    if made.group_width > MOST_WIDENING * max(ch, align):
        inputs = f"{made.group_width} inputs each, more than {MOST_WIDENING} x {max(ch, align)}"
        return layout, f"not aligned to {align}: the most groups that fit are {made.groups} with {inputs}"
    return made, ""


def reasons(*parts: str) -> str:
    """The parts of a reason that say something, in one."""
    return "; ".join(part for part in parts if part)


def _obstacle(in_channels: int, out_channels: int, ch: int, align: int) -> str:
    for count, what in ((in_channels, "input channels"), (out_channels, "filters")):
        if count % align:
            return f"{count} {what} are no multiple"
    most = in_channels // ch
    if most < 2:
        return f"{in_channels} channels are less than two groups of {ch}"
    common = math.gcd(in_channels // align, out_channels // align)
    shared = "have no common divisor" if common == 1 else f"have no common divisor from 2 to {most}"
    return f"{in_channels // align} and {out_channels // align} blocks of channels {shared}"
