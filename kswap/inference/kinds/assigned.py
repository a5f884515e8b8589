"""The assigned block, a grouped layer between two orders of channels, in plain layers.

Methods of its implementations: ``dense`` is one dense layer, which takes in both orders; ``groups`` is a grouped layer
of ``height`` filters per group. The second path of K becomes one more filter of its groups there: the order of the
outputs, which follows, leaves out the filters that only fill up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from kswap.inference.candidates import Candidates
from kswap.inference.layer_factory import LayerFactory
from kswap.nn.affine import Affine, affine_of
from kswap.nn.affine_norm import in_order
from kswap.nn.channel_order import ChannelOrder
from kswap.nn.implementation import DENSE, Cost, Implementation, ImplementationId
from kswap.nn.kinds.assigned import AssignedBlock
from kswap.planner.kinds.assigned import AssignedPlan

# Filters of a group are padded to such multiples, which some runtimes need for their quickest kernels.
_MULTIPLES = (1, 8)

_id = partial(ImplementationId.of, "assigned")


def candidates(block: AssignedBlock) -> Candidates:
    """The ways to compute an assigned block; see :func:`kswap.inference.kinds.candidates_of`.

    >>> from kswap.nn import build_block
    >>> from kswap.planner import BlockSettings, plan_block
    >>> block = build_block(plan_block(64, 40, BlockSettings(kind="assigned", ch=16)))
    >>> [str(one.id) for one in candidates(block).implementations]
    ['assigned.dense', 'assigned.groups(height=10)', 'assigned.groups(height=16)']
    """
    factory = LayerFactory.like(block)
    found = tuple(_implementations(block, factory))
    orders = block.reads is not None, block.writes is not None
    return Candidates(found, norms=0, likeness=(block.plan.k, orders, factory), group="groups assigned")


def _implementations(block: AssignedBlock, factory: LayerFactory) -> Iterator[Implementation]:
    plan = block.plan
    assert plan.k is not None
    affine, inputs, outputs = affine_of(block, plan.in_channels, factory.dim), plan.in_channels, plan.out_channels
    dense = partial(factory.dense, affine, strided=True)
    yield Implementation(_id(DENSE), Cost(inputs * outputs, inputs + outputs), dense)
    most = plan.k.filters_per_group + (plan.k.extra_groups > 0)
    for height in sorted({-(-most // multiple) * multiple for multiple in _MULTIPLES}):
        reads, takes = _orders(plan, height)
        places, filters = plan.k.groups * plan.k.group_width, plan.k.groups * height
        ordered = 2 * places * (reads is not None) + 2 * outputs * (takes is not None)
        cost = Cost(plan.k.group_width * filters, places + filters + ordered)
        yield Implementation(_id("groups", height=height), cost, partial(_grouped, factory, affine, plan, height))


def _orders(plan: AssignedPlan, height: int) -> tuple[Sequence[int] | None, Sequence[int] | None]:
    """The input at each place that the groups read, and the filter that makes each output; ``None`` for 0, 1, 2, ..."""
    assert plan.k is not None
    takes = [0] * plan.out_channels
    for g, (_, outputs) in enumerate(plan.groups()):
        for row, output in enumerate(outputs):
            takes[output] = g * height + row
    reads = plan.read_order()
    in_place = takes == [*range(plan.k.groups * height)]
    return None if reads == tuple(range(plan.in_channels)) else reads, None if in_place else takes


def _grouped(factory: LayerFactory, affine: Affine, plan: AssignedPlan, height: int) -> nn.Module:
    assert plan.k is not None
    reads, takes = _orders(plan, height)
    groups = plan.k.groups
    weight: Tensor = affine.weight.new_zeros(groups * height, plan.k.group_width)
    bias = affine.bias.new_zeros(groups * height)
    for g, (inputs, outputs) in enumerate(plan.groups()):
        rows = slice(g * height, g * height + len(outputs))
        weight[rows] = affine.weight[torch.tensor(outputs)[:, None], torch.tensor(inputs)]
        bias[rows] = affine.bias[torch.tensor(outputs)]
    layer = factory.layer(weight, bias, groups, strided=True)
    first = None if reads is None else ChannelOrder(reads, factory.device, factory.dim)
    last = None if takes is None else ChannelOrder(takes, factory.device, factory.dim)
    return in_order(first, layer, last) or layer
