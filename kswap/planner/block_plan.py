"""The base class of the plans of blocks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from kswap.errors import PlanError
from kswap.planner.layout import GroupedLayout


class BlockPlan(ABC):
    """What replaces one pointwise layer, in integers, or why the layer is kept.

    A kind of block derives a frozen dataclass from this class and is listed in :data:`kswap.planner.kinds.BLOCK_KINDS`.
    ``ch`` is the number of channels per group that was asked for, and ``align`` what numbers of groups were to be
    multiples of. ``reason`` says why the plan is what it is.
    """

    # The name of the kind, and whether its blocks can take in the norm and activation of the replaced layer.
    kind: ClassVar[str]
    absorbs: ClassVar[bool]

    in_channels: int
    out_channels: int
    ch: int
    reason: str
    align: int | None = None

    @property
    def layouts(self) -> tuple[GroupedLayout, ...]:
        """The grouped layers of the block; none where it is kept, or of another kind."""
        return ()

    @property
    def is_aligned(self) -> bool:
        """Whether inputs and filters of all groups are multiples of ``align``, the number that was asked for."""
        return self.align is not None and all(layout.is_aligned(self.align) for layout in self.layouts)

    @property
    @abstractmethod
    def replaces(self) -> bool:
        """Whether there is a block; otherwise the layer is kept."""

    def check_replaces(self) -> None:
        """Raises :class:`ValueError` for a plan that keeps the layer: there is nothing to build or to fit."""
        if not self.replaces:
            raise ValueError(f"this plan keeps the convolution: {self.reason}")

    @property
    @abstractmethod
    def weights(self) -> int:
        """Weights of all layers of the block, without biases; those of the dense layer when it is kept."""

    @property
    @abstractmethod
    def biases(self) -> int:
        """Elements of the biases of the block, where the replaced layer has a bias."""

    @property
    @abstractmethod
    def filters(self) -> int:
        """Filters of all layers of the block; each has a gain where the replaced layer is weight-standardised."""

    @property
    @abstractmethod
    def copies(self) -> int:
        """How many copies of an absorbed norm and activation the block holds."""

    @property
    @abstractmethod
    def narrowest(self) -> int:
        """The fewest inputs of any filter of the block."""

    @abstractmethod
    def short(self) -> str:
        """The plan in a few characters."""

    @abstractmethod
    def shape_to_json(self) -> dict[str, Any]:
        """The settings and the layout of the block as keys of a site in ``plan.json``, without ``kind``."""

    @classmethod
    @abstractmethod
    def shape_from_json(cls, data: dict[str, Any], in_channels: int, out_channels: int, what: str) -> BlockPlan:
        """Read what :meth:`shape_to_json` wrote, and validate it; the stored layout is not derived again.

        ``what`` names the site in messages. Raises :class:`PlanError`.
        """

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values, with its channels, kind, reason and weights."""
        own = {"in_channels": self.in_channels, "out_channels": self.out_channels, "kind": self.kind}
        return own | self.shape_to_json() | {"reason": self.reason, "weights": self.weights}

    @property
    def dense_weights(self) -> int:
        """Weights of the layer that is replaced, without bias."""
        return self.in_channels * self.out_channels


def check_whole(value: object, what: str, least: int = 1, most: int | None = None) -> int:
    """``value`` as a whole number from ``least`` to ``most``. Raises :class:`PlanError`.

    >>> check_whole(16, "ch")
    16
    """
    if type(value) is not int or value < least or (most is not None and value > most):
        limits = f"of at least {least:,}" if most is None else f"from {least:,} to {most:,}"
        raise PlanError(f"{what} must be a whole number {limits}, not {value!r:.40}")
    return value
