"""What optimising for training knows of one block: the ways to compute it with a backward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain

from torch import nn

from kswap.graph.clone import copy_with
from kswap.nn import PointwiseBlock
from kswap.nn.implementation import Cost, Implementation, ImplementationId

# From an implementation to others that differ from it in one respect, itself among them.
Variation = Callable[[Implementation], tuple[Implementation, ...]]


@dataclass(frozen=True)
class Trainable:
    """The implementations of one block that can be trained, as a place to start and ways to go on.

    The modules that they build are over the block's own parameters and buffers.

    Args:
        estimated: what is taken without measuring.
        named: returns the implementation with an identifier.
        variations: to be measured in turn, each from the quickest that was found before.
    """

    estimated: Implementation
    named: Callable[[ImplementationId], Implementation]
    variations: tuple[Variation, ...] = ()


def stock_only(block: PointwiseBlock, cost: Cost) -> Trainable:
    """Nothing but the block as converted, by the stock operators of PyTorch."""
    id_ = ImplementationId.of(block.plan.kind, "stock")
    found = Implementation(id_, cost, partial(with_shared_tensors, block), has_backward=True)
    return Trainable(found, lambda _: found)


def with_shared_tensors(model: nn.Module, replaced: dict[int, nn.Module] | None = None) -> nn.Module:
    """New modules over the parameters and buffers of ``model``; ``replaced`` has others for some, by their ids."""
    memo: dict[int, object] = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    return copy_with(model, {**memo, **(replaced or {})})
