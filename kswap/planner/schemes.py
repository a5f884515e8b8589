"""The two published schemes: from channel numbers to the plan of one pointwise convolution."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kswap.errors import PlanError, nearest
from kswap.planner.layout import GroupedLayout


@dataclass(frozen=True)
class LayerPlan:
    """What replaces one pointwise convolution: K, the interleave, L; or why it is kept.

    ``k`` is ``None`` when the convolution is kept, ``reason`` then says why. ``l`` is ``None`` when the
    block has no second layer, ``interleave_step`` is ``None`` when nothing is interleaved.
    """

    in_channels: int
    out_channels: int
    ch: int
    scheme: str
    second_layer: bool
    k: GroupedLayout | None
    interleave_step: int | None
    l: GroupedLayout | None  # noqa: E741 - K and L are the names of the papers
    reason: str

    @property
    def weights(self) -> int:
        """Weights of the convolutions, without biases; the dense count when the convolution is kept."""
        if self.k is None:
            return self.dense_weights
        return self.k.weights + (self.l.weights if self.l else 0)

    @property
    def dense_weights(self) -> int:
        """Weights of the convolution that is replaced, without bias."""
        return self.in_channels * self.out_channels

    def short(self) -> str:
        """The plan in a few characters: ``K 72x4+32 i20 L 20x16``."""
        if self.k is None:
            return "kept"
        parts = [f"K {self.k.short()}"]
        if self.interleave_step:
            parts.append(f"i{self.interleave_step}")
        if self.l:
            parts.append(f"L {self.l.short()}" if not self.l.is_dense else "L dense")
        return " ".join(parts)

    def to_json(self) -> dict[str, Any]:
        return {
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "ch": self.ch,
            "scheme": self.scheme,
            "second_layer": self.second_layer,
            "reason": self.reason,
            "k": self.k.to_json() if self.k else None,
            "interleave_step": self.interleave_step,
            "l": self.l.to_json() if self.l else None,
            "weights": self.weights,
        }


def interleave_order(channels: int, step: int) -> list[int]:
    """Channels 0, s, 2s, ..., then 1, 1 + s, ..., and so on (2022 paper, Eq. 16, for any step).

    >>> interleave_order(10, 2)
    [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]
    """
    return [channel for start in range(step) for channel in range(start, channels, step)]


def plan_v2(in_channels: int, out_channels: int, ch: int, second_layer: bool = True) -> LayerPlan:
    """Scheme of the Entropy 2022 paper, as the authors' implementation applies it.

    >>> plan_v2(1152, 320, 16).short()
    'K 72x4+32 i20 L 20x16'
    >>> plan_v2(24, 16, 16).reason
    '24 input channels, needs more than 32'
    """

    def plan(reason: str, **parts: Any) -> LayerPlan:
        parts = {"k": None, "interleave_step": None, "l": None} | parts
        return LayerPlan(in_channels, out_channels, ch, "v2", second_layer, reason=reason, **parts)

    needed = ch if out_channels > in_channels else 2 * ch
    if in_channels <= needed:
        return plan(f"{in_channels} input channels, needs more than {needed}")
    k = GroupedLayout.of(in_channels, out_channels, ch)
    if k.is_dense:
        return plan(f"{out_channels} output channel, K would be one dense group")
    if out_channels > in_channels:
        return plan("more outputs than inputs: K alone", k=k)
    if not second_layer:
        return plan("K alone, as the rules ask", k=k)
    step = out_channels // ch
    return plan(
        "K + L",
        k=k,
        interleave_step=step if step > 1 else None,
        l=GroupedLayout.of(out_channels, out_channels, ch),
    )


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


SCHEMES: dict[str, Callable[[int, int, int, bool], LayerPlan]] = {"v1": plan_v1, "v2": plan_v2}


# More than any layer has; keeps a plan from a stranger from costing minutes.
MOST_CHANNELS = 2**24


def check_ch(ch: object) -> int:
    """``ch`` as a positive integer. Raises :class:`PlanError`."""
    if isinstance(ch, bool) or not isinstance(ch, int) or ch < 1:
        raise PlanError(f"ch (channels per group) must be a whole number of at least 1, not {ch!r}")
    return ch


def check_scheme(scheme: object) -> str:
    """``scheme`` if kswap knows it. Raises :class:`PlanError`."""
    if not isinstance(scheme, str) or scheme not in SCHEMES:
        raise PlanError(f"unknown scheme {scheme!r}: known are {', '.join(SCHEMES)}{nearest(str(scheme), SCHEMES)}")
    return scheme


def plan_layer(
    in_channels: int, out_channels: int, ch: int, scheme: str = "v2", second_layer: bool = True
) -> LayerPlan:
    """Plan one pointwise convolution of ``in_channels`` inputs and ``out_channels`` filters.

    ``ch`` is the number of channels per group (Ch in the papers); ``scheme`` is ``"v2"`` (Entropy 2022) or
    ``"v1"`` (2021, MENDEL 2022). Raises :class:`kswap.errors.PlanError` for numbers
    below 1 or above 2**24.

    >>> plan = plan_layer(1152, 320, ch=16)
    >>> plan.k.groups, plan.k.filters_per_group, plan.k.extra_groups, plan.interleave_step
    (72, 4, 32, 20)
    >>> plan.weights
    10240
    """
    check_ch(ch)
    check_scheme(scheme)
    for label, value in (("in_channels", in_channels), ("out_channels", out_channels)):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_CHANNELS:
            raise PlanError(f"{label} must be a whole number from 1 to {MOST_CHANNELS:,}, not {value!r}")
    if not isinstance(second_layer, bool):
        raise PlanError(f"second_layer must be true or false, not {second_layer!r}")
    return SCHEMES[scheme](in_channels, out_channels, ch, second_layer)
