"""The grouped block in training: K and L in merged groups, with the interleave between them.

The methods of its implementations are ``stock``, the block as converted, and ``merge``: ``k_first`` and ``k_second``
are the groups in which the two paths of K are computed, ``l_first`` and ``l_second`` those of L (see
:class:`kswap.nn.group_merging.GroupMerging`). A dense L takes in the interleave.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from kswap.nn import GroupedBlock, GroupedPointwise
from kswap.nn.group_merging import GroupMerging, group_mergings
from kswap.nn.implementation import Cost, Implementation, ImplementationId
from kswap.training.trainable import Trainable, stock_only, with_shared_tensors

# Below this many filters in a group, a grouped convolution of a CPU is slow for its size. Forward and backward pass of
# 192 channels, 14x14, batch 16, channels_last, one thread: 2.7, 2.2, 1.5, 1.2 and 1.7 ms with groups of 2, 4, 8, 16 and
# 32 filters and as many inputs, although each has twice the MACs of the one before.
_FILTERS = 8


def trainable(block: GroupedBlock) -> Trainable:
    """The mergings of K, then those of L; see :func:`kswap.training.kinds.trainable`."""
    if not block.k.can_merge:
        return stock_only(block, _cost(block, None, None))
    mergings = [_estimated(layer) for layer in block.grouped_layers]
    variations = (_other_k, _other_l) if block.l is not None else (_other_k,)
    return Trainable(
        merged(block, mergings[0], mergings[1] if block.l is not None else None),
        lambda id_: merged(block, *_mergings_of(id_)),
        tuple(partial(vary, block) for vary in variations),
    )


def merged(block: GroupedBlock, k: GroupMerging, l: GroupMerging | None) -> Implementation:  # noqa: E741
    """The block with K and L in these groups. Raises :class:`kswap.errors.PlanError` where they do not fit."""
    for layer, merging in zip(block.grouped_layers, (k, l), strict=False):
        if merging is not None:
            merging.check(layer.layout)
    parameters = {"k_first": k.first, "k_second": k.second}
    if l is not None:
        parameters |= {"l_first": l.first, "l_second": l.second}
    id_ = ImplementationId.of("grouped", "merge", **parameters)
    return Implementation(id_, _cost(block, k, l), partial(_build, block, k, l), has_backward=True)


def _build(block: GroupedBlock, k: GroupMerging, l: GroupMerging | None) -> nn.Module:  # noqa: E741
    made = with_shared_tensors(block)
    assert isinstance(made, GroupedBlock)
    made.compute_as_(k, l)
    return made


def _mergings_of(found: ImplementationId) -> tuple[GroupMerging, GroupMerging | None]:
    l = GroupMerging(found["l_first"], found["l_second"]) if found["l_first"] else None  # noqa: E741
    return GroupMerging(found["k_first"], found["k_second"]), l


def _other_k(block: GroupedBlock, near: Implementation) -> tuple[Implementation, ...]:
    _, l = _mergings_of(near.id)  # noqa: E741
    return tuple(merged(block, k, l) for k in group_mergings(block.k.layout))


def _other_l(block: GroupedBlock, near: Implementation) -> tuple[Implementation, ...]:
    k, _ = _mergings_of(near.id)
    assert block.l is not None
    return tuple(merged(block, k, l) for l in group_mergings(block.l.layout))  # noqa: E741


def _cost(block: GroupedBlock, k: GroupMerging | None, l: GroupMerging | None) -> Cost:  # noqa: E741
    """MACs with the zeros of merged groups; numbers moved by both layers, the interleave and the sum."""
    macs = sum(
        layer.layout.weights if merging is None else merging.macs(layer.layout)
        for layer, merging in zip(block.grouped_layers, (k, l), strict=False)
    )
    inputs, outputs = block.in_channels, block.out_channels
    interleaved = block.interleave is not None and not (l is not None and l.is_dense)
    moved = inputs + outputs * (1 + 2 * interleaved + (5 if block.l is not None else 0))
    return Cost(macs, moved)


def _estimated(layer: GroupedPointwise) -> GroupMerging:
    """What is likely the quickest in channels_last on a CPU, by the channel numbers."""
    layout = layer.layout
    in_one = [merging for merging in group_mergings(layout) if not merging.second]
    wide = [merging for merging in in_one if layout.groups // merging.first * layout.filters_per_group >= _FILTERS]
    return wide[0] if wide and not layout.replicated else GroupMerging(1)
