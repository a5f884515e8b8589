"""One grouped pointwise layer in integers: groups, filters per group, second path, replication."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from kswap.errors import PlanError, nearest

LAYOUT_KEYS = ("groups", "filters_per_group", "extra_groups", "group_width", "replicated")


def largest_divisor(number: int, most: int) -> int:
    """The largest divisor of ``number`` that is at most ``most``.

    >>> largest_divisor(512, 100), largest_divisor(97, 10)
    (64, 1)
    """
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return max(d for d in (*small, *(number // d for d in small)) if d <= most)


@dataclass(frozen=True)
class GroupedLayout:
    """How one grouped pointwise layer reads its inputs and makes its outputs.

    The inputs are replicated from ``in_channels`` to ``groups * group_width`` channels by appending the
    first ``replicated`` ones. The first path has ``groups`` groups with ``filters_per_group`` filters each.
    The second path, if ``extra_groups`` is not 0, has that many groups of one filter, and reads the first
    ``extra_groups * group_width`` of the replicated channels. The output is the first path, then the second
    (Schuler et al. 2022, section 3, Eq. 6 to 20).

    >>> layer = GroupedLayout.of(14, 10, ch=4)
    >>> layer.groups, layer.filters_per_group, layer.extra_groups, layer.group_width, layer.replicated
    (4, 2, 2, 4, 2)
    >>> layer.weights
    40
    """

    in_channels: int
    out_channels: int
    groups: int
    filters_per_group: int
    extra_groups: int
    group_width: int
    replicated: int

    def __post_init__(self) -> None:
        if min(self.in_channels, self.out_channels, self.groups, self.filters_per_group, self.group_width) < 1:
            raise PlanError("a grouped layer has at least one channel, group, filter and input per group")
        if not 0 <= self.extra_groups < max(self.groups, 1):
            raise PlanError(f"extra_groups is {self.extra_groups}, but must be 0 to groups - 1 = {self.groups - 1}")
        if self.groups * self.filters_per_group + self.extra_groups != self.out_channels:
            raise PlanError(
                f"{self.groups} groups of {self.filters_per_group} filters and {self.extra_groups} extra "
                f"groups do not make {self.out_channels} output channels"
            )
        if self.in_channels + self.replicated != self.groups * self.group_width or self.replicated < 0:
            raise PlanError(
                f"{self.in_channels} input channels and {self.replicated} replicated ones do not make "
                f"{self.groups} groups of {self.group_width}"
            )

    @classmethod
    def of(cls, in_channels: int, out_channels: int, ch: int) -> GroupedLayout:
        """The layer that scheme v2 makes for ``ch`` channels per group (DESIGN of K and L alike).

        Never more groups than filters; when the filters cap the groups, the groups grow wider. One group is
        a plain dense pointwise convolution.
        """
        groups = min(-(-in_channels // ch), out_channels)
        if groups == 1:
            width = in_channels
        elif groups * ch < in_channels:
            width = -(-in_channels // groups)
        else:
            width = ch
        return cls(
            in_channels=in_channels,
            out_channels=out_channels,
            groups=groups,
            filters_per_group=out_channels // groups,
            extra_groups=out_channels % groups,
            group_width=width,
            replicated=groups * width - in_channels,
        )

    @classmethod
    def even(cls, in_channels: int, out_channels: int, groups: int) -> GroupedLayout:
        """The layer of scheme v1: ``groups`` divides both channel numbers, nothing is left over."""
        return cls(in_channels, out_channels, groups, out_channels // groups, 0, in_channels // groups, 0)

    @classmethod
    def aligned(cls, in_channels: int, out_channels: int, ch: int, align: int) -> GroupedLayout | None:
        """The most groups of at least ``ch`` channels whose inputs and filters are multiples of ``align``.

        Nothing is replicated or left over. ``None`` where the channel numbers allow no such groups.

        >>> GroupedLayout.aligned(480, 80, ch=16, align=16).short()
        '5x16'
        >>> GroupedLayout.aligned(480, 40, ch=16, align=16) is None
        True
        """
        if in_channels % align or out_channels % align:
            return None
        common = math.gcd(in_channels // align, out_channels // align)
        groups = largest_divisor(common, max(in_channels // ch, 1))
        return cls.even(in_channels, out_channels, groups)

    def is_aligned(self, align: int) -> bool:
        """Whether inputs and filters of each group are multiples of ``align``, and there is no second path.

        >>> GroupedLayout.of(192, 1152, ch=16).is_aligned(16), GroupedLayout.of(1152, 320, ch=16).is_aligned(16)
        (True, False)
        """
        return not (self.extra_groups or self.group_width % align or self.filters_per_group % align)

    @property
    def weights(self) -> int:
        """Weights of the convolutions of both paths, without biases."""
        return self.group_width * self.out_channels

    @property
    def is_dense(self) -> bool:
        return self.groups == 1

    def read_order(self) -> list[int]:
        """The input channel that each of the ``groups * group_width`` replicated channels copies.

        >>> GroupedLayout.of(14, 10, ch=4).read_order()[12:]
        [12, 13, 0, 1]
        """
        return [i % self.in_channels for i in range(self.groups * self.group_width)]

    def short(self) -> str:
        """``72x4+32``: groups x filters per group + extra groups, as in Table 1 of the 2022 paper."""
        extra = f"+{self.extra_groups}" if self.extra_groups else ""
        return f"{self.groups}x{self.filters_per_group}{extra}"

    def to_json(self) -> dict[str, int]:
        return {key: getattr(self, key) for key in LAYOUT_KEYS}

    @classmethod
    def from_json(cls, data: Any, in_channels: int, out_channels: int) -> GroupedLayout:
        """Read what :meth:`to_json` wrote. Raises :class:`PlanError` for anything else."""
        if not isinstance(data, dict):
            raise PlanError("a grouped layer in a plan must be a table of five integers")
        for key, value in data.items():
            if key not in LAYOUT_KEYS:
                raise PlanError(f"unknown key '{key}' in a grouped layer of the plan{nearest(key, LAYOUT_KEYS)}")
            if type(value) is not int:
                raise PlanError(f"'{key}' of a grouped layer in the plan must be an integer, not {value!r}")
        missing = [key for key in LAYOUT_KEYS if key not in data]
        if missing:
            raise PlanError(f"a grouped layer in the plan lacks {', '.join(missing)}")
        return cls(in_channels, out_channels, **data)
