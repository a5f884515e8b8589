"""The grouped block in training: K and L as converted, by PyTorch's grouped convolution, or in merged groups.

The methods of its implementations are ``converted``, in which :func:`kswap.nn.group_merging.quick_merging` decides,
and ``merge``: ``k_groups`` are the groups in which K is computed, ``l_groups`` those of L (see
:class:`kswap.nn.group_merging.GroupMerging`). 0 is PyTorch's grouped convolution; a layer that is not named is as
converted.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from kswap.nn import GroupedBlock, GroupedPointwise
from kswap.nn.group_merging import GroupMerging, group_mergings
from kswap.nn.implementation import Cost, Implementation, ImplementationId
from kswap.training.trainable import Trainable, stock_only, with_shared_tensors

_STOCK = 0  # groups of a layer that is computed by PyTorch's grouped convolution


def trainable(block: GroupedBlock) -> Trainable:
    """The mergings of K, then those of L; see :func:`kswap.training.kinds.trainable`."""
    if not block.k.can_merge:
        return stock_only(block, _cost(block, {}))
    layers = {"k_groups": block.k} if block.l is None else {"k_groups": block.k, "l_groups": block.l}
    return Trainable(
        _implementation(block, {}),
        lambda id_: _implementation(block, dict(id_.parameters)),
        tuple(partial(_others, block, name, layer) for name, layer in layers.items()),
    )


def _implementation(block: GroupedBlock, groups: dict[str, int]) -> Implementation:
    """The block with the named layers in these groups. Raises :class:`kswap.errors.PlanError` where they do not fit."""
    for layer, count in _named(block, groups):
        if count != _STOCK:
            GroupMerging(count).check(layer.layout)
    id_ = ImplementationId.of("grouped", "merge" if groups else "converted", **groups)
    return Implementation(id_, _cost(block, groups), partial(_build, block, groups), has_backward=True)


def _others(
    block: GroupedBlock, name: str, layer: GroupedPointwise, near: Implementation
) -> tuple[Implementation, ...]:
    """``near``, and all other ways to compute one layer of it."""
    counts = [_STOCK, *(merging.groups for merging in group_mergings(layer.layout))]
    return near, *(_implementation(block, {**dict(near.id.parameters), name: count}) for count in counts)


def _named(block: GroupedBlock, groups: dict[str, int]) -> list[tuple[GroupedPointwise, int]]:
    layers = {"k_groups": block.k, "l_groups": block.l}
    return [(layer, groups[name]) for name, layer in layers.items() if layer is not None and name in groups]


def _build(block: GroupedBlock, groups: dict[str, int]) -> nn.Module:
    made = with_shared_tensors(block)
    assert isinstance(made, GroupedBlock)
    for layer, count in _named(made, groups):
        layer.compute_as_(None if count == _STOCK else GroupMerging(count))
    return made


def _cost(block: GroupedBlock, groups: dict[str, int]) -> Cost:
    """MACs with the zeros of merged groups; numbers moved by both layers, the interleave and the sum."""
    zeros = sum(
        GroupMerging(count).macs(layer.layout) - layer.layout.weights
        for layer, count in _named(block, groups)
        if count != _STOCK
    )
    inputs, outputs = block.in_channels, block.out_channels
    moved = inputs + outputs * (1 + 2 * (block.interleave is not None) + (5 if block.l is not None else 0))
    return Cost(block.plan.weights + zeros, moved)
