"""Which groups of a grouped layer are merged into larger ones, and where each weight lies then: whole numbers only."""

from __future__ import annotations

from dataclasses import dataclass

from kswap.errors import PlanError
from kswap.planner.layout import GroupedLayout

# Below this many filters in a group, a grouped convolution of a CPU is slow for its size. Forward and backward pass of
# 192 channels, 14x14, batch 16, channels_last, one thread: 2.7, 2.2, 1.5, 1.2 and 1.7 ms with groups of 2, 4, 8, 16 and
# 32 filters and as many inputs, although each has twice the MACs of the one before.
_FILTERS = 8

# Reading or writing a number takes about as long as this many MACs of a batched matrix product. A dense product needs
# no replicated inputs: forward and backward pass at batch 8 take 0.74 of the time for 24 -> 24 channels in two groups
# (192 MACs more per position, 64 numbers fewer), 1.1 for 24 -> 144 (1,152 and 64), 1.5 for 40 -> 240 (5,760 and 96).
_MACS_PER_NUMBER = 16


@dataclass(frozen=True)
class GroupMerging:
    """In how many groups a grouped layer is computed, over the same weights.

    ``groups`` divides the groups of the layer: groups are merged, with zeros where a filter does not read. The
    filters of the second path go to the groups whose inputs they read; groups are padded to equally many filters,
    and the padding is left out of the output. ``GroupMerging(1)`` is one dense layer, without padding, which reads no
    channel twice.

    >>> GroupMerging(1).is_dense, GroupMerging(6).is_dense
    (True, False)
    """

    groups: int

    def __post_init__(self) -> None:
        if self.groups < 1:
            raise PlanError("a merging has at least one group")

    @property
    def is_dense(self) -> bool:
        return self.groups == 1

    def macs(self, layout: GroupedLayout) -> int:
        """Multiply-accumulates per position of the output, zeros and padding included.

        >>> layout = GroupedLayout.of(192, 1152, ch=16)
        >>> GroupMerging(12).macs(layout), GroupMerging(6).macs(layout)
        (18432, 36864)
        """
        filters, inputs = self.shape(layout)
        return filters * inputs

    def check(self, layout: GroupedLayout) -> None:
        """Raises :class:`PlanError` where the groups of ``layout`` cannot be merged in this way."""
        if self.is_dense:
            if layout.group_width > layout.in_channels:
                raise PlanError(f"the layout {layout.short()} reads a channel twice in a group: it has no dense weight")
        elif layout.groups % self.groups:
            raise PlanError(
                f"the layout {layout.short()} cannot be computed in {self.groups} groups: take a divisor of its groups"
            )

    def shape(self, layout: GroupedLayout) -> tuple[int, int]:
        """Of the weight of all merged groups: filters with padding, inputs of each."""
        if self.is_dense:
            return layout.out_channels, layout.in_channels
        merged = layout.groups // self.groups
        return self.groups * self._height(layout), merged * layout.group_width

    def _height(self, layout: GroupedLayout) -> int:
        """Filters of a merged group, with padding: groups of the second path are the first ones."""
        merged = layout.groups // self.groups
        return merged * layout.filters_per_group + min(merged, layout.extra_groups)

    def rows(self, layout: GroupedLayout) -> list[int]:
        """The row of each filter of ``layout``, in the order of its outputs, in the weight of all merged groups.

        >>> GroupMerging(2).rows(GroupedLayout.of(14, 10, ch=4))
        [0, 1, 2, 3, 6, 7, 8, 9, 4, 5]
        """
        if self.is_dense:
            return list(range(layout.out_channels))
        merged, filters, height = layout.groups // self.groups, layout.filters_per_group, self._height(layout)
        first = [g // merged * height + g % merged * filters + i for g in range(layout.groups) for i in range(filters)]
        return first + [e // merged * height + merged * filters + e % merged for e in range(layout.extra_groups)]

    def cells(self, layout: GroupedLayout) -> list[int]:
        """The flat index of each weight of ``layout`` in the weight of all merged groups; each has its own."""
        width, inputs = layout.group_width, self.shape(layout)[1]
        merged = layout.groups // self.groups
        read = layout.read_order() if self.is_dense else list(range(merged * width)) * self.groups
        groups = [g for g in range(layout.groups) for _ in range(layout.filters_per_group)]
        groups += range(layout.extra_groups)
        return [
            row * inputs + column
            for row, group in zip(self.rows(layout), groups, strict=True)
            for column in read[group * width : (group + 1) * width]
        ]


def group_mergings(layout: GroupedLayout) -> list[GroupMerging]:
    """The ways to compute ``layout``: its own groups, merged ones, each time twice as wide, and dense last.

    >>> [m.groups for m in group_mergings(GroupedLayout.of(192, 1152, ch=16))]
    [12, 6, 3, 1]
    """
    found: dict[GroupMerging, None] = {}
    groups = layout.groups
    while groups > 1:
        found[GroupMerging(_divisor(layout.groups, groups))] = None
        groups //= 2
    found.pop(GroupMerging(1), None)
    return [*found, GroupMerging(1)]


def _divisor(number: int, near: float) -> int:
    """The divisor of ``number`` that is nearest to ``near``; the smaller one of two."""
    return min((d for d in range(1, number + 1) if number % d == 0), key=lambda d: (abs(d - near), d))


def quick_merging(layout: GroupedLayout, channels_last: bool) -> GroupMerging:
    """In which groups a two-dimensional ``layout`` is computed on a CPU as it comes, by its channel numbers alone.

    Contiguous inputs are multiplied by one matrix per group, so that groups stay as they are, unless a dense product
    saves more copies than it adds zeros. With ``channels_last`` a convolution needs groups of some width.

    >>> layout = GroupedLayout.of(1152, 320, ch=16)
    >>> quick_merging(layout, channels_last=False), quick_merging(layout, channels_last=True)
    (GroupMerging(groups=72), GroupMerging(groups=36))
    """
    if not channels_last:
        zeros = layout.out_channels * (layout.in_channels - layout.group_width)
        copied = 2 * (layout.in_channels + layout.replicated)
        dense = layout.replicated and zeros <= _MACS_PER_NUMBER * copied
        return GroupMerging(1 if dense else layout.groups)
    wide = [
        merging
        for merging in group_mergings(layout)
        if layout.groups // merging.groups * layout.filters_per_group >= _FILTERS
    ]
    return wide[0] if wide and not layout.replicated else GroupMerging(1)
