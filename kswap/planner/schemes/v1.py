"""Scheme v1, of the 2021 paper and of MENDEL 2022."""

from __future__ import annotations

import math
from typing import Any

from kswap.planner.layer_plan import LayerPlan
from kswap.planner.layout import GroupedLayout
from kswap.planner.schemes.scheme import Scheme


def largest_divisor(number: int, most: int) -> int:
    """The largest divisor of ``number`` that is at most ``most``.

    >>> largest_divisor(512, 100), largest_divisor(97, 10)
    (64, 1)
    """
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return max(d for d in (*small, *(number // d for d in small)) if d <= most)


def plan_v1(in_channels: int, out_channels: int, ch: int, second_layer: bool = True) -> LayerPlan:
    """Scheme of the 2021 and MENDEL 2022 papers. It interleaves also where no L follows.

    >>> plan_v1(1024, 512, 16).k.groups, plan_v1(1024, 512, 16).weights
    (64, 12288)
    """

    def plan(reason: str, **parts: Any) -> LayerPlan:
        parts = {"k": None, "interleave_step": None, "l": None} | parts
        return LayerPlan(in_channels, out_channels, ch, "v1", second_layer, reason=reason, **parts)

    most = in_channels // ch
    if most < 2:
        return plan(f"{in_channels} input channels, needs at least {2 * ch}")
    common = math.gcd(in_channels, out_channels)
    groups = largest_divisor(common, most)
    if groups == 1:
        return plan(f"{in_channels} and {out_channels} channels have no common divisor from 2 to {most}")
    filters = out_channels // groups
    step = filters if filters > 1 else None
    k = GroupedLayout.even(in_channels, out_channels, groups)
    if out_channels > in_channels:
        return plan("more outputs than inputs: K alone", k=k, interleave_step=step)
    if not second_layer:
        return plan("K alone, as the rules ask", k=k, interleave_step=step)
    return plan("K + L", k=k, interleave_step=step, l=GroupedLayout.even(out_channels, out_channels, groups))


SCHEME = Scheme(
    "v1",
    plan_v1,
    preset="keffnet-v1",
    citation=(
        "Schuler, Romani, Abdel-Nasser, Rashwan, Puig: Grouped Pointwise Convolutions Reduce Parameters in "
        "Convolutional Neural Networks. MENDEL 2022, 28(1)"
    ),
)
