"""The assigned kind: K alone, whose groups read assigned inputs and make assigned outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from kswap.errors import PlanError
from kswap.planner.alignment import aligned_to, check_align, fit_to, reasons
from kswap.planner.block_plan import BlockPlan, check_whole
from kswap.planner.kinds.kind import BlockKind, BlockSettings
from kswap.planner.layout import GroupedLayout
from kswap.planner.schemes import plan_layer


@dataclass(frozen=True)
class AssignedPlan(BlockPlan):
    """One grouped pointwise layer, with an order in which it reads its inputs and one in which it makes its outputs.

    ``k`` is the layout of K alone, or ``None`` when the layer is kept. ``reads[i]`` is the input at place ``i`` of the
    ``groups * group_width`` that K reads, so every input is there at least once and ``replicated`` places repeat one.
    ``writes[i]`` is the output that filter ``i`` of K makes. Both are ``None`` until a fit has assigned them: K then
    reads and writes in its own order. Norm and activation stay outside the block. Raises :class:`PlanError`.

    >>> layout = GroupedLayout.of(6, 4, ch=3)
    >>> plan = AssignedPlan(6, 4, 3, "v2", layout, reads=(0, 2, 4, 1, 3, 5), writes=(0, 2, 1, 3), reason="")
    >>> plan.groups()
    [((0, 2, 4), (0, 2)), ((1, 3, 5), (1, 3))]
    """

    kind: ClassVar[str] = "assigned"
    absorbs: ClassVar[bool] = False

    in_channels: int
    out_channels: int
    ch: int
    scheme: str
    k: GroupedLayout | None
    reads: tuple[int, ...] | None
    writes: tuple[int, ...] | None
    reason: str = field(compare=False)
    align: int | None = None

    def __post_init__(self) -> None:
        if self.align is not None:
            check_align(self.align)
        if self.k is None:
            if self.reads is not None or self.writes is not None:
                raise PlanError("a layout without K can have neither reads nor writes")
            return
        if (self.k.in_channels, self.k.out_channels) != (self.in_channels, self.out_channels):
            raise PlanError(f"K must map {self.in_channels} channels to {self.out_channels}")
        if self.k.is_dense:
            raise PlanError("K has one group, which is the dense layer: nothing is gained")
        _check_order(self.reads, "reads", self.k.groups * self.k.group_width, self.in_channels)
        _check_order(self.writes, "writes", self.out_channels, self.out_channels)
        twice = next((g for g, (inputs, _) in enumerate(self.groups()) if len(set(inputs)) < len(inputs)), None)
        if twice is not None:
            raise PlanError(f"reads names a channel twice in group {twice + 1}: a group reads different channels")

    @property
    def replaces(self) -> bool:
        return self.k is not None

    @property
    def layouts(self) -> tuple[GroupedLayout, ...]:
        return () if self.k is None else (self.k,)

    @property
    def is_assigned(self) -> bool:
        """Whether a fit has assigned inputs and outputs to the groups."""
        return self.reads is not None or self.writes is not None

    @property
    def weights(self) -> int:
        return self.k.weights if self.k else self.dense_weights

    @property
    def biases(self) -> int:
        return self.out_channels

    @property
    def filters(self) -> int:
        return self.out_channels

    @property
    def copies(self) -> int:
        return 1

    @property
    def narrowest(self) -> int:
        return self.k.group_width if self.k else self.in_channels

    def read_order(self) -> tuple[int, ...]:
        """The input at each place that K reads; K's own order where none is assigned."""
        assert self.k is not None
        return tuple(self.k.read_order()) if self.reads is None else self.reads

    def write_order(self) -> tuple[int, ...]:
        """The output that each filter of K makes; K's own order where none is assigned."""
        return tuple(range(self.out_channels)) if self.writes is None else self.writes

    def groups(self) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """The inputs and the outputs of each group, those of the second path after those of the first."""
        assert self.k is not None
        reads, writes, width, filters = (
            self.read_order(),
            self.write_order(),
            self.k.group_width,
            self.k.filters_per_group,
        )
        first = self.k.groups * filters
        return [
            (
                reads[g * width : (g + 1) * width],
                writes[g * filters : (g + 1) * filters]
                + (writes[first + g : first + g + 1] if g < self.k.extra_groups else ()),
            )
            for g in range(self.k.groups)
        ]

    def short(self) -> str:
        """``assigned 12x96``: groups x filters per group + extra groups."""
        return f"assigned {self.k.short()}" if self.k else "kept"

    def shape_to_json(self) -> dict[str, Any]:
        return {
            "ch": self.ch,
            "scheme": self.scheme,
            **aligned_to(self.align),
            "k": self.k.to_json() if self.k else None,
            "reads": None if self.reads is None else list(self.reads),
            "writes": None if self.writes is None else list(self.writes),
        }

    @classmethod
    def shape_from_json(cls, data: dict[str, Any], in_channels: int, out_channels: int, what: str) -> AssignedPlan:
        if not isinstance(data.get("scheme"), str):
            raise PlanError(f"scheme of {what} must be text, not {data.get('scheme')!r:.40}")
        try:
            layout = data.get("k")
            return cls(
                in_channels,
                out_channels,
                check_whole(data.get("ch"), "ch"),
                data["scheme"],
                None if layout is None else GroupedLayout.from_json(layout, in_channels, out_channels),
                _order(data.get("reads"), "reads"),
                _order(data.get("writes"), "writes"),
                str(data.get("reason", "")),
                data.get("align"),
            )
        except PlanError as error:
            raise PlanError(f"{what}: {error}") from error


def _order(data: Any, what: str) -> tuple[int, ...] | None:
    if data is None:
        return None
    if not isinstance(data, list) or any(type(channel) is not int for channel in data):
        raise PlanError(f"{what} must be a list of channel numbers, not {data!r:.40}")
    return tuple(data)


def _check_order(order: Sequence[int] | None, what: str, length: int, channels: int) -> None:
    """Raises :class:`PlanError` unless ``order`` has this length and names each of the channels."""
    if order is None:
        return
    if len(order) != length:
        raise PlanError(f"{what} must name {length:,} channels, not {len(order):,}")
    named = set(order)
    beyond = next((channel for channel in order if not 0 <= channel < channels), None)
    if beyond is not None:
        raise PlanError(f"{what} must name channels from 0 to {channels - 1:,}, not {beyond!r:.20}")
    if len(named) < channels:
        missing = next(channel for channel in range(channels) if channel not in named)
        raise PlanError(f"{what} must name every channel, and channel {missing:,} is missing")


def plan_assigned(in_channels: int, out_channels: int, settings: BlockSettings) -> AssignedPlan:
    """The layout of K alone that the scheme makes, without interleave, and nothing assigned yet.

    >>> plan_assigned(192, 1152, BlockSettings(ch=16)).short()
    'assigned 12x96'
    """
    ch, scheme, align = settings.ch, settings.scheme, settings.align
    made = plan_layer(in_channels, out_channels, ch, scheme, second_layer=False, align=align)
    unaligned = "" if align is None or made.k is None else fit_to(made.k, ch, align)[1]
    reason = reasons("K alone, groups assigned by a fit", unaligned) if made.k else made.reason
    return AssignedPlan(in_channels, out_channels, ch, scheme, made.k, None, None, reason, align)


KIND = BlockKind(
    "assigned",
    "one grouped pointwise convolution whose groups read assigned inputs and make assigned outputs",
    plan_assigned,
    AssignedPlan,
    setting_keys=("ch", "scheme", "align"),
    layout_keys=("k", "reads", "writes"),
    fitted_keys=("reads", "writes"),
)
