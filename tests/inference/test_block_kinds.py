"""Every kind of block that can be planned can be optimised, for inference and for training."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kswap.inference.kinds import candidates_of
from kswap.nn import build_block
from kswap.nn.implementation import Implementation
from kswap.planner import BlockSettings, plan_block
from kswap.planner.kinds import BLOCK_KINDS
from kswap.training.kinds import trainable


def implementations(kind: str) -> list[Implementation]:
    block = build_block(plan_block(96, 48, BlockSettings(kind=kind)), replaces=nn.Conv2d(96, 48, 1)).eval()
    return [*candidates_of(block).implementations, trainable(block).estimated]


@pytest.mark.parametrize("kind", sorted(BLOCK_KINDS))
def test_a_kind_has_implementations_of_its_own_name(kind: str) -> None:
    found = implementations(kind)
    assert {one.id.kind for one in found} == {kind}
    assert len({one.id for one in found}) == len(found)
    assert [one.has_backward for one in found] == [False] * (len(found) - 1) + [True]
    assert found[0].id.is_dense
    assert found[0].cost.macs == 96 * 48
    assert all(one.build()(torch.zeros(1, 96, 2, 2)).shape == (1, 48, 2, 2) for one in found)
