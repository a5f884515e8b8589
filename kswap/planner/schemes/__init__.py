"""The schemes, one file each: from channel numbers to the layout of a grouped block."""

from __future__ import annotations

from dataclasses import replace

from kswap.errors import PlanError, nearest
from kswap.planner.alignment import check_align
from kswap.planner.block_plan import check_whole
from kswap.planner.layer_plan import LayerPlan
from kswap.planner.schemes import shuffle, v1, v2
from kswap.planner.schemes.scheme import Scheme

SCHEMES: dict[str, Scheme] = {scheme.name: scheme for scheme in (v1.SCHEME, v2.SCHEME, shuffle.SCHEME)}

# More than any layer has; keeps a plan from a stranger from costing minutes.
MOST_CHANNELS = 2**24


def check_ch(ch: object) -> int:
    """``ch`` as a positive integer. Raises :class:`PlanError`."""
    return check_whole(ch, "ch (channels per group)")


def check_scheme(scheme: object) -> str:
    """``scheme`` if kswap knows it. Raises :class:`PlanError`."""
    if not isinstance(scheme, str) or scheme not in SCHEMES:
        raise PlanError(
            f"unknown scheme {scheme!r:.40}: known are {', '.join(SCHEMES)}{nearest(str(scheme)[:40], SCHEMES)}"
        )
    return scheme


def check_channels(in_channels: object, out_channels: object) -> None:
    """Refuse channel numbers below 1 or above :data:`MOST_CHANNELS` (:class:`PlanError`)."""
    check_whole(in_channels, "in_channels", most=MOST_CHANNELS)
    check_whole(out_channels, "out_channels", most=MOST_CHANNELS)


def plan_layer(
    in_channels: int,
    out_channels: int,
    ch: int,
    scheme: str = "v2",
    second_layer: bool = True,
    sum: bool = True,
    align: int | None = None,
) -> LayerPlan:
    """Plan the grouped block of one pointwise convolution of ``in_channels`` inputs and ``out_channels`` filters.

    Args:
        in_channels: input channels, from 1 to 2**24.
        out_channels: filters, from 1 to 2**24.
        ch: channels per group (Ch in the papers).
        scheme: ``"v2"`` (Entropy 2022), ``"v1"`` (2021, MENDEL 2022) or ``"shuffle"`` (ShuffleNet, to compare with).
        second_layer: ``False`` for K alone (the "no L" of Table 5 of the 2022 paper).
        sum: ``False`` for the output of L alone instead of K + L.
        align: inputs and filters of every group are multiples of this number where the channel numbers allow it, and
            the layout is that of the scheme elsewhere. Runtimes that keep images in blocks of channels, such as ONNX
            Runtime (16 with AVX-512, 8 with AVX2), run such groups without changing the layout.

    Raises :class:`kswap.errors.PlanError` for anything else.

    >>> plan = plan_layer(1152, 320, ch=16)
    >>> plan.k.groups, plan.k.filters_per_group, plan.k.extra_groups, plan.interleave_step
    (72, 4, 32, 20)
    >>> plan.weights
    10240
    >>> plan_layer(1152, 192, ch=16).short(), plan_layer(1152, 192, ch=16, align=16).short()
    ('K 72x2+48 i12 L 12x16', 'K 12x16 i12 L 12x16')
    """
    check_ch(ch)
    check_scheme(scheme)
    check_channels(in_channels, out_channels)
    for label, value in (("second_layer", second_layer), ("sum", sum)):
        if not isinstance(value, bool):
            raise PlanError(f"{label} must be true or false, not {value!r:.40}")
    if align is not None:
        check_align(align)
    plan = SCHEMES[scheme].arithmetic(in_channels, out_channels, ch, second_layer, align)
    if sum or plan.l is None:
        return plan
    return replace(plan, sum=False, reason="L without the sum, as the rules ask")
