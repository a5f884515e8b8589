"""Scheme v1, of the 2021 paper and of MENDEL 2022."""

from __future__ import annotations

import math
from typing import Any

from kswap.planner.alignment import fit_to, reasons
from kswap.planner.layer_plan import LayerPlan
from kswap.planner.layout import GroupedLayout, largest_divisor
from kswap.planner.schemes.scheme import Scheme


def plan_v1(
    in_channels: int, out_channels: int, ch: int, second_layer: bool = True, align: int | None = None
) -> LayerPlan:
    """Scheme of the 2021 and MENDEL 2022 papers. It interleaves also where no L follows.

    With ``align`` the groups are the most whose inputs and filters are multiples of it, where there are such groups.

    >>> plan_v1(1024, 512, 16).k.groups, plan_v1(1024, 512, 16).weights
    (64, 12288)
    """

    def plan(reason: str, **parts: Any) -> LayerPlan:
        parts = {"k": None, "interleave_step": None, "l": None} | parts
        return LayerPlan(in_channels, out_channels, ch, "v1", second_layer, reason=reason, align=align, **parts)

    most = in_channels // ch
    if most < 2:
        return plan(f"{in_channels} input channels, needs at least {2 * ch}")
    common = math.gcd(in_channels, out_channels)
    groups = largest_divisor(common, most)
    if groups == 1:
        return plan(f"{in_channels} and {out_channels} channels have no common divisor from 2 to {most}")
    k, unaligned = fit_to(GroupedLayout.even(in_channels, out_channels, groups), ch, align)
    step = k.filters_per_group if k.filters_per_group > 1 else None
    if out_channels > in_channels:
        return plan(reasons("more outputs than inputs: K alone", unaligned), k=k, interleave_step=step)
    if not second_layer:
        return plan(reasons("K alone, as the rules ask", unaligned), k=k, interleave_step=step)
    second = GroupedLayout.even(out_channels, out_channels, k.groups)
    return plan(reasons("K + L", unaligned), k=k, interleave_step=step, l=second)


SCHEME = Scheme(
    "v1",
    plan_v1,
    preset="keffnet-v1",
    citation=(
        "Schuler, Romani, Abdel-Nasser, Rashwan, Puig: Grouped Pointwise Convolutions Reduce Parameters in "
        "Convolutional Neural Networks. MENDEL 2022, 28(1)"
    ),
)
