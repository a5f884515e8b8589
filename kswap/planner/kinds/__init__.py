"""Kinds of blocks, one file each: from channel numbers and settings to the plan of a block.

A kind that is added here needs a module of the same name in :mod:`kswap.nn.kinds` (its layers), in
``kswap/inference/kinds`` and ``kswap/training/kinds`` (the ways to compute it), in ``kswap/report/kinds`` (its
explanation and drawing) and in ``kswap/projection/kinds`` (its fit to trained weights).
"""

from __future__ import annotations

from kswap.errors import PlanError, nearest
from kswap.planner.block_plan import BlockPlan
from kswap.planner.kinds import assigned, grouped, low_rank
from kswap.planner.kinds.kind import BlockKind, BlockSettings

BLOCK_KINDS: dict[str, BlockKind] = {kind.name: kind for kind in (grouped.KIND, low_rank.KIND, assigned.KIND)}


def check_kind(kind: object) -> str:
    """``kind`` if kswap knows it. Raises :class:`PlanError`."""
    if not isinstance(kind, str) or kind not in BLOCK_KINDS:
        hint = nearest(str(kind)[:40], BLOCK_KINDS)
        raise PlanError(f"unknown kind of block {kind!r:.40}: known are {', '.join(BLOCK_KINDS)}{hint}")
    return kind


def plan_block(in_channels: int, out_channels: int, settings: BlockSettings) -> BlockPlan:
    """Plan the block of one pointwise layer. Raises :class:`PlanError`.

    >>> plan_block(1152, 320, BlockSettings(kind="low-rank", ch=16)).short()
    'rank 7'
    """
    return BLOCK_KINDS[check_kind(settings.kind)].plan(in_channels, out_channels, settings)
