"""The grouped block in training: K and L as converted, by PyTorch's grouped convolution, or in merged groups.

The methods of its implementations are ``converted``, in which :func:`kswap.nn.group_merging.quick_merging` decides,
and ``merge``: ``k_groups`` are the groups in which K is computed, ``l_groups`` those of L (see
:class:`kswap.nn.group_merging.GroupMerging`). 0 is PyTorch's grouped convolution; a layer that is not named is as
converted. ``triton`` is the whole block by fused kernels, on CUDA devices (see :mod:`kswap.nn.fused_block`).
"""

from __future__ import annotations

from functools import partial

from torch import nn

from kswap.errors import PlanError
from kswap.nn import GroupedBlock, GroupedPointwise
from kswap.nn.fused_block import why_no_kernels
from kswap.nn.group_merging import GroupMerging, group_mergings
from kswap.nn.implementation import Cost, Implementation, ImplementationId
from kswap.training.trainable import Trainable, stock_only, with_shared_tensors

_FUSED = ImplementationId.of("grouped", "triton")
_STOCK = 0  # groups of a layer that is computed by PyTorch's grouped convolution


def trainable(block: GroupedBlock) -> Trainable:
    """The mergings of K, then those of L, then the fused one; see :func:`kswap.training.kinds.trainable`."""
    fuses = block.weight.is_cuda and block.can_fuse and why_no_kernels() is None
    fused = (lambda near: (near, _fused(block)),) if fuses else ()
    if not block.k.can_merge:
        stock = stock_only(block, _cost(block, {}))
        return Trainable(stock.estimated, lambda id_: _fused(block) if id_ == _FUSED else stock.named(id_), fused)
    layers = {"k_groups": block.k} if block.l is None else {"k_groups": block.k, "l_groups": block.l}
    return Trainable(
        _implementation(block, {}),
        lambda id_: _fused(block) if id_ == _FUSED else _implementation(block, dict(id_.parameters)),
        (*(partial(_others, block, name, layer) for name, layer in layers.items()), *fused),
    )


def _fused(block: GroupedBlock) -> Implementation:
    """Raises :class:`kswap.errors.PlanError` where there are no kernels for the block, or none can run here."""
    obstacle = why_no_kernels()
    if obstacle is not None:
        raise PlanError(f"{_FUSED} cannot run: {obstacle}")
    cost = Cost((1 + block.sums) * block.plan.weights, block.in_channels + block.out_channels)
    build = partial(_build_fused, block)
    return Implementation(_FUSED, cost, build, frozenset({"cuda"}), has_backward=True, only_measured=True)


def _build_fused(block: GroupedBlock) -> nn.Module:
    made = with_shared_tensors(block)
    assert isinstance(made, GroupedBlock)
    made.compute_fused_()
    return made


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
