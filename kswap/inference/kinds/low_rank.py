"""The low-rank block, ``Ic -> r -> F``, in plain layers.

Methods of its implementations: ``dense`` is one dense layer, ``two-layers`` the two of the block.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from torch import nn

from kswap.inference.candidates import Candidates
from kswap.inference.layer_factory import LayerFactory
from kswap.nn import LowRankBlock
from kswap.nn.affine import Affine, affine_of
from kswap.nn.implementation import DENSE, Cost, Implementation, ImplementationId

_id = partial(ImplementationId.of, "low-rank")


def candidates(block: LowRankBlock) -> Candidates:
    """The ways to compute a low-rank block; see :func:`kswap.inference.kinds.candidates_of`.

    >>> from kswap.nn import build_block
    >>> from kswap.planner import BlockSettings, plan_block
    >>> block = build_block(plan_block(64, 40, BlockSettings(kind="low-rank", rank=8)))
    >>> [str(one.id) for one in candidates(block).implementations]
    ['low-rank.dense', 'low-rank.two-layers']
    """
    factory = LayerFactory.like(block)
    found = tuple(_implementations(block, factory))
    return Candidates(found, norms=0, likeness=(block.plan, factory), group="low rank")


def _implementations(block: LowRankBlock, factory: LayerFactory) -> Iterator[Implementation]:
    plan, dim = block.plan, factory.dim
    assert plan.rank is not None
    down, up = affine_of(block.down, plan.in_channels, dim), affine_of(block.up, plan.rank, dim)
    inputs, outputs, rank = plan.in_channels, plan.out_channels, plan.rank
    dense = partial(factory.dense, up @ down, strided=True)
    yield Implementation(_id(DENSE), Cost(inputs * outputs, inputs + outputs), dense)
    cost = Cost(rank * (inputs + outputs), inputs + 2 * rank + outputs)
    yield Implementation(_id("two-layers"), cost, partial(_two_layers, factory, down, up))


def _two_layers(factory: LayerFactory, down: Affine, up: Affine) -> nn.Module:
    return nn.Sequential(factory.layer(down.weight, None, strided=True), factory.layer(up.weight, up.bias))
