"""Assigned blocks in inference: what orders that are plain save."""

from __future__ import annotations

from torch import nn

from kswap.inference.kinds import candidates_of
from kswap.nn import build_block
from kswap.planner import BlockSettings, plan_block


def test_nothing_is_reordered_where_the_orders_are_plain() -> None:
    block = build_block(plan_block(64, 96, BlockSettings(kind="assigned", ch=16))).eval()
    found = candidates_of(block).implementations
    assert isinstance(found[1].build(), nn.Conv2d)
    assert found[1].cost.moved == 64 + 96
