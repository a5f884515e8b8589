"""Which groups of a grouped layer are merged into larger ones, and where each weight lies then: whole numbers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kswap.errors import PlanError
from kswap.planner.layout import GroupedLayout


@dataclass(frozen=True)
class GroupMerging:
    """In how many groups the two paths of a grouped layer are computed, over the same weights.

    ``first`` and ``second`` divide the groups of the first path and of the second: groups are merged, with zeros
    where a filter does not read. With ``second`` 0 one convolution holds the filters of both paths; its groups are
    padded to equally many filters and the padding is left out of the output. ``GroupMerging(1)`` is one dense
    convolution, without padding, and can take an interleave before the layer into the columns of its weight.

    >>> GroupMerging(1).is_dense, GroupMerging(6).is_dense
    (True, False)
    """

    first: int
    second: int = 0

    def __post_init__(self) -> None:
        if self.first < 1 or self.second < 0:
            raise PlanError("a merging has at least one group in the first path and none or more in the second")

    @property
    def is_dense(self) -> bool:
        return self.first == 1 and self.second == 0

    def macs(self, layout: GroupedLayout) -> int:
        """Multiply-accumulates per position of the output, zeros and padding included.

        >>> layout = GroupedLayout.of(192, 1152, ch=16)
        >>> GroupMerging(12).macs(layout), GroupMerging(6).macs(layout)
        (18432, 36864)
        """
        first, second = place_paths(layout, self, None)
        paths = (first, second) if self.second else (first,)
        return sum(path.shape[0] * path.shape[1] for path in paths)

    def check(self, layout: GroupedLayout) -> None:
        """Raises :class:`PlanError` where the groups of ``layout`` cannot be merged in this way."""
        if self.is_dense:
            if layout.group_width > layout.in_channels:
                raise PlanError(f"the layout {layout.short()} reads a channel twice in a group: it has no dense weight")
            return
        extra = layout.extra_groups
        fits = self.second == 0 if not extra else not self.second or extra % self.second == 0
        if layout.groups % self.first or not fits:
            raise PlanError(
                f"the layout {layout.short()} cannot be computed in {self.first} and {self.second} groups: "
                "take divisors of the groups of its two paths"
            )


def group_mergings(layout: GroupedLayout) -> list[GroupMerging]:
    """The ways to compute ``layout``: its own groups, merged ones, each time twice as wide, and dense last.

    >>> [(m.first, m.second) for m in group_mergings(GroupedLayout.of(192, 1152, ch=16))]
    [(12, 0), (6, 0), (3, 0), (1, 0)]
    >>> [(m.first, m.second) for m in group_mergings(GroupedLayout.of(64, 22, ch=16))]
    [(4, 2), (4, 0), (2, 1), (2, 0), (1, 0)]
    """
    found: dict[GroupMerging, None] = {}
    extra, groups = layout.extra_groups, layout.groups
    while groups > 1:
        first = _divisor(layout.groups, groups)
        if extra:
            found[GroupMerging(first, _divisor(extra, extra * groups / layout.groups))] = None
        found[GroupMerging(first)] = None
        groups //= 2
    found.pop(GroupMerging(1), None)
    return [*found, GroupMerging(1)]


def _divisor(number: int, near: float) -> int:
    """The divisor of ``number`` that is nearest to ``near``; the smaller one of two."""
    return min((d for d in range(1, number + 1) if number % d == 0), key=lambda d: (abs(d - near), d))


@dataclass(frozen=True)
class PlacedPath:
    """Where the filters of one path are placed in a larger weight.

    ``shape`` is that of the weight which holds them, ``(filters, inputs)``; ``rows`` are their rows in it; ``cells``
    has the flat index of each of their weights in it, or is ``None`` where the path's own weight is used unchanged.
    """

    shape: tuple[int, int]
    rows: list[int]
    cells: list[int] | None


def place_paths(
    layout: GroupedLayout, merging: GroupMerging, order: Sequence[int] | None
) -> tuple[PlacedPath, PlacedPath]:
    """The places of the first and the second path, in one weight or in one each; every weight has its own cell."""
    filters, width, extra = layout.filters_per_group, layout.group_width, layout.extra_groups
    merged = layout.groups // merging.first
    added = 0 if merging.second else min(merged, extra)
    high = merged * filters + added  # filters in each merged group
    rows = [g // merged * high + g % merged * filters + i for g in range(layout.groups) for i in range(filters)]
    groups = [g for g in range(layout.groups) for _ in range(filters)]
    shape = (merging.first * high, layout.in_channels if merging.is_dense else merged * width)
    if merging.is_dense:
        read = layout.read_order() if order is None else [order[channel] for channel in layout.read_order()]
    else:
        read = list(range(merged * width)) * merging.first
    unchanged = merged == 1 and not added and not merging.is_dense
    first = PlacedPath(shape, rows, None if unchanged else _cells(rows, groups, read, width, shape[1]))
    if not merging.second:
        rows = [e // merged * high + merged * filters + e % merged for e in range(extra)]
        return first, PlacedPath(
            shape, rows, _cells(rows, list(range(extra)), read, width, shape[1]) if extra else None
        )
    merged = extra // merging.second
    shape, rows = (extra, merged * width), list(range(extra))
    read = list(range(merged * width)) * merging.second
    return first, PlacedPath(shape, rows, None if merged == 1 else _cells(rows, rows, read, width, shape[1]))


def _cells(rows: list[int], groups: list[int], read: list[int], width: int, inputs: int) -> list[int]:
    return [
        row * inputs + column
        for row, group in zip(rows, groups, strict=True)
        for column in read[group * width : (group + 1) * width]
    ]


def filters_of_rows(rows: list[int], filters: int) -> list[int]:
    """The filter in each row, and any filter where there is none.

    >>> filters_of_rows([0, 2, 1], 4)
    [0, 2, 1, 0]
    """
    found = [0] * filters
    for number, row in enumerate(rows):
        found[row] = number
    return found
