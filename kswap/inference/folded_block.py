"""A block in eval mode as two matrices and what stands behind each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kswap.inference.layer_factory import LayerFactory
from kswap.nn import GroupedBlock as PointwiseBlock
from kswap.nn import GroupedPointwise, Interleave
from kswap.nn.affine import Affine, affine_of
from kswap.nn.affine_norm import in_order, split_norm
from kswap.planner.layout import GroupedLayout


@torch.no_grad()
def _pattern(layout: GroupedLayout, interleave: Interleave | None = None) -> Tensor:
    """Which inputs each output of a grouped layer may read, as booleans ``(out, in)``, whatever its weights."""
    ones = GroupedPointwise(layout)
    for parameter in ones.parameters():
        nn.init.ones_(parameter)
    reads = affine_of(ones, layout.in_channels).weight > 0
    if interleave is None:
        return reads
    order = interleave.order.cpu()
    return reads[:, torch.argsort(order)]


@dataclass(frozen=True)
class FoldedBlock:
    """``k = after_k(K x)``, then ``k + after_l(L k)``, or ``shuffle(k)`` where there is no L.

    Norms are folded into the matrices where they are a fixed scale and shift, the interleave into that of L.
    ``after_k`` and ``after_l`` hold what cannot be folded: activations, other norms. ``k_reads`` and
    ``l_reads`` say which entries of the matrices a plan can fill at all. ``interleave`` is that before L,
    ``replicated`` and ``extra`` are the input channels of K that are read twice and the filters of its second path.
    """

    factory: LayerFactory
    k: Affine
    k_reads: Tensor
    after_k: nn.Module | None
    l: Affine | None = None  # noqa: E741 - K and L are the names of the papers
    l_reads: Tensor | None = None
    after_l: nn.Module | None = None
    shuffle: nn.Module | None = None
    interleave: Interleave | None = None
    replicated: int = 0
    extra: int = 0

    @property
    def is_affine(self) -> bool:
        """Whether the whole block is one matrix."""
        return self.after_k is None and self.after_l is None


def fold(block: PointwiseBlock) -> FoldedBlock:
    """The matrices of ``block`` with all that is fixed in eval mode multiplied into them."""
    plan = block.plan
    assert plan.k is not None
    dim = block.k.dim
    core, rest = split_norm(block.k_norm)
    after_k = in_order(rest, block.k_act)
    k = affine_of(nn.Sequential(block.k, core or nn.Identity()), plan.in_channels, dim)
    reads = _pattern(plan.k)
    factory, replicated, extra = LayerFactory.like(block), plan.k.replicated, plan.k.extra_groups
    if block.l is None or plan.l is None:
        shuffle: nn.Module | None = block.interleave
        if block.interleave is not None and (after_k is None or _treats_channels_alike(after_k)):
            order = block.interleave.order.cpu()
            k, reads, shuffle = k.rows(order), reads[order], None
        return FoldedBlock(factory, k, reads, after_k, shuffle=shuffle, replicated=replicated, extra=extra)
    core, rest = split_norm(block.l_norm)
    mixed = nn.Sequential(block.interleave or nn.Identity(), block.l, core or nn.Identity())
    return FoldedBlock(
        factory,
        k,
        reads,
        after_k,
        affine_of(mixed, plan.out_channels, dim),
        _pattern(plan.l, block.interleave),
        in_order(rest, block.l_act),
        interleave=block.interleave,
        replicated=replicated,
        extra=extra,
    )


def norm_count(block: PointwiseBlock) -> int:
    """How many norms inside ``block`` are folded."""
    norms = [block.k_norm, *([block.l_norm] if block.l is not None else [])]
    return sum(split_norm(norm)[0] is not None for norm in norms)


def _treats_channels_alike(layer: nn.Module) -> bool:
    """Whether an activation does the same to every channel: one without parameters does."""
    from kswap.nn.norms_and_activations import is_activation

    return is_activation(layer) and not any(True for _ in layer.parameters())
