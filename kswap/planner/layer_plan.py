"""The plan of a grouped block: K, the interleave, L and the sum."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from kswap.errors import PlanError
from kswap.planner.alignment import aligned_to, check_align
from kswap.planner.block_plan import BlockPlan, check_whole
from kswap.planner.layout import GroupedLayout


@dataclass(frozen=True)
class LayerPlan(BlockPlan):
    """What replaces one pointwise convolution: K, the interleave, L; or why it is kept.

    ``k`` is ``None`` when the convolution is kept, ``reason`` then says why. ``l`` is ``None`` when the block has no
    second layer, ``interleave_step`` is ``None`` when nothing is interleaved. With ``sum`` false the output is that
    of L alone instead of K + L. ``scheme``, ``ch``, ``second_layer`` and ``align`` say how the layout came about; the
    layout itself is what counts. Raises :class:`PlanError` where its parts do not fit together.

    >>> from kswap.planner import plan_layer
    >>> plan = plan_layer(1152, 320, ch=16)
    >>> plan.k.groups, plan.l.groups, plan.interleave_step, plan.weights
    (72, 20, 20, 10240)
    """

    kind: ClassVar[str] = "grouped"
    absorbs: ClassVar[bool] = True

    in_channels: int
    out_channels: int
    ch: int
    scheme: str
    second_layer: bool
    k: GroupedLayout | None
    interleave_step: int | None
    l: GroupedLayout | None  # noqa: E741 - K and L are the names of the papers
    reason: str = field(compare=False)
    sum: bool = True
    align: int | None = None

    def __post_init__(self) -> None:
        if self.align is not None:
            check_align(self.align)
        if self.k is None:
            if self.l is not None or self.interleave_step is not None:
                raise PlanError("a layout without K can have neither L nor interleave")
            return
        if (self.k.in_channels, self.k.out_channels) != (self.in_channels, self.out_channels):
            raise PlanError(f"K must map {self.in_channels} channels to {self.out_channels}")
        if self.k.is_dense:
            raise PlanError("K has one group, which is the dense layer: nothing is gained")
        if self.l is not None and (self.l.in_channels, self.l.out_channels) != (self.out_channels,) * 2:
            raise PlanError(f"L must map the {self.out_channels} channels of K to as many")
        if self.interleave_step is not None:
            check_whole(self.interleave_step, "interleave_step", 2, self.out_channels)

    @property
    def layouts(self) -> tuple[GroupedLayout, ...]:
        """K and, where there is one, L; empty when the convolution is kept."""
        return tuple(layout for layout in (self.k, self.l) if layout is not None)

    @property
    def replaces(self) -> bool:
        return self.k is not None

    @property
    def weights(self) -> int:
        """Weights of the convolutions, without biases; the dense count when the convolution is kept."""
        return sum(layout.weights for layout in self.layouts) if self.replaces else self.dense_weights

    @property
    def biases(self) -> int:
        return self.filters

    @property
    def filters(self) -> int:
        return self.out_channels * self.copies

    @property
    def copies(self) -> int:
        return max(len(self.layouts), 1)

    @property
    def narrowest(self) -> int:
        return min((layout.group_width for layout in self.layouts), default=self.in_channels)

    def short(self) -> str:
        """The plan in a few characters: ``K 72x4+32 i20 L 20x16``; ``only L`` says that the sum is left out."""
        if self.k is None:
            return "kept"
        parts = [f"K {self.k.short()}"]
        if self.interleave_step:
            parts.append(f"i{self.interleave_step}")
        if self.l:
            parts.append(f"L {self.l.short()}" if not self.l.is_dense else "L dense")
        return " ".join(parts) + (" only L" if self.l and not self.sum else "")

    def shape_to_json(self) -> dict[str, Any]:
        return {
            "ch": self.ch,
            "scheme": self.scheme,
            "second_layer": self.second_layer,
            "sum": self.sum,
            **aligned_to(self.align),
            "k": self.k.to_json() if self.k else None,
            "interleave_step": self.interleave_step,
            "l": self.l.to_json() if self.l else None,
        }

    @classmethod
    def shape_from_json(cls, data: dict[str, Any], in_channels: int, out_channels: int, what: str) -> LayerPlan:
        for key in ("second_layer", "sum"):
            if not isinstance(data.get(key, True), bool):
                raise PlanError(f"{key} of {what} must be true or false, not {data[key]!r:.40}")
        if not isinstance(data.get("scheme"), str):
            raise PlanError(f"scheme of {what} must be text, not {data.get('scheme')!r:.40}")
        try:
            return cls(
                in_channels,
                out_channels,
                check_whole(data.get("ch"), "ch"),
                data["scheme"],
                data.get("second_layer", True),
                _layout(data.get("k"), in_channels, out_channels),
                data.get("interleave_step"),
                _layout(data.get("l"), out_channels, out_channels),
                str(data.get("reason", "")),
                data.get("sum", True),
                data.get("align"),
            )
        except PlanError as error:
            raise PlanError(f"{what}: {error}") from error


def _layout(data: Any, in_channels: int, out_channels: int) -> GroupedLayout | None:
    return None if data is None else GroupedLayout.from_json(data, in_channels, out_channels)


def interleave_order(channels: int, step: int) -> list[int]:
    """Channels 0, s, 2s, ..., then 1, 1 + s, ..., and so on (2022 paper, Eq. 16, for any step).

    >>> interleave_order(10, 2)
    [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]
    """
    return [channel for start in range(step) for channel in range(start, channels, step)]
