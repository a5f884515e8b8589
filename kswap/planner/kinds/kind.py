"""What an entry of the registry of block kinds brings to planning."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

from kswap.errors import PlanError
from kswap.planner.alignment import check_align
from kswap.planner.block_plan import BlockPlan, check_whole
from kswap.planner.schemes import MOST_CHANNELS, check_ch, check_scheme


@dataclass(frozen=True)
class BlockSettings:
    """What a plan of a block is made from; a kind reads the settings that mean something to it.

    ``ch`` (channels per group) and ``scheme`` are read by every kind: low rank chooses its rank by them unless
    ``rank`` is given. ``second_layer`` and ``sum`` are for the grouped kind, ``align`` for those with groups.
    Raises :class:`PlanError`.
    """

    kind: str = "grouped"
    ch: int = 16
    scheme: str = "v2"
    second_layer: bool = True
    sum: bool = True
    rank: int | None = None
    align: int | None = None

    def __post_init__(self) -> None:
        check_ch(self.ch)
        check_scheme(self.scheme)
        for label in ("second_layer", "sum"):
            if not isinstance(getattr(self, label), bool):
                raise PlanError(f"{label} must be true or false, not {getattr(self, label)!r:.40}")
        if self.rank is not None:
            check_rank(self.rank)
        if self.align is not None:
            check_align(self.align)


@dataclass(frozen=True)
class BlockKind:
    """One kind of block: its name, what it is in a sentence, its planning, and the class of its plans.

    ``plan`` takes input channels, output channels and settings. ``plan_class`` reads the layouts that a plan file
    stores. ``setting_keys`` and ``layout_keys`` are its keys in ``plan.json``, beside those of every site;
    ``fitted_keys`` are those of ``layout_keys`` that no setting decides, but a fit to data, and are ``None`` before it.
    """

    name: str
    description: str
    plan: Callable[[int, int, BlockSettings], BlockPlan]
    plan_class: type[BlockPlan]
    setting_keys: tuple[str, ...]
    layout_keys: tuple[str, ...]
    fitted_keys: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys of a site of this kind in ``plan.json``, beside those of every site."""
        return (*self.setting_keys, *self.layout_keys)


def check_rank(rank: object) -> int:
    """``rank`` as a whole number from 1 to :data:`MOST_CHANNELS`. Raises :class:`PlanError`."""
    return check_whole(rank, "rank", most=MOST_CHANNELS)


def part_of_kind(package: str, kind: str) -> ModuleType:
    """The module that ``package`` has for a kind of block, such as ``kswap.nn.kinds.low_rank``."""
    return importlib.import_module(f"{package}.{kind.replace('-', '_')}")
