"""Scheme v2, of the Entropy 2022 paper."""

from __future__ import annotations

from typing import Any

from kswap.planner.alignment import fit_to, reasons
from kswap.planner.layer_plan import LayerPlan
from kswap.planner.layout import GroupedLayout
from kswap.planner.schemes.scheme import Scheme


def plan_v2(
    in_channels: int, out_channels: int, ch: int, second_layer: bool = True, align: int | None = None
) -> LayerPlan:
    """Scheme of the Entropy 2022 paper, as the authors' implementation applies it.

    ``align`` is not of the paper: K and L in groups whose inputs and filters are multiples of it, without replication
    and second path, where there are such groups for both.

    >>> plan_v2(1152, 320, 16).short()
    'K 72x4+32 i20 L 20x16'
    >>> plan_v2(24, 16, 16).reason
    '24 input channels, needs more than 32'
    """

    def plan(reason: str, **parts: Any) -> LayerPlan:
        parts = {"k": None, "interleave_step": None, "l": None} | parts
        return LayerPlan(in_channels, out_channels, ch, "v2", second_layer, reason=reason, align=align, **parts)

    needed = ch if out_channels > in_channels else 2 * ch
    if in_channels <= needed:
        return plan(f"{in_channels} input channels, needs more than {needed}")
    usual = GroupedLayout.of(in_channels, out_channels, ch)
    k, unaligned = fit_to(usual, ch, align)
    if k.is_dense:
        return plan(f"{out_channels} output channel, K would be one dense group")
    if out_channels > in_channels:
        return plan(reasons("more outputs than inputs: K alone", unaligned), k=k)
    if not second_layer:
        return plan(reasons("K alone, as the rules ask", unaligned), k=k)
    step = out_channels // ch
    second = GroupedLayout.of(out_channels, out_channels, ch)
    if not unaligned:
        second, unaligned = fit_to(second, ch, align)
        k = usual if unaligned else k
    return plan(
        reasons("K + L", unaligned),
        k=k,
        interleave_step=step if step > 1 else None,
        l=second,
    )


SCHEME = Scheme(
    "v2",
    plan_v2,
    preset="keffnet-v2",
    citation=(
        "Schuler, Romani, Abdel-Nasser, Rashwan, Puig: An Enhanced Scheme for Reducing the Complexity of Pointwise "
        "Convolutions in CNNs for Image Classification Based on Interleaved Grouped Filters without Divisibility "
        "Constraints. Entropy 2022, 24, 1264"
    ),
)
