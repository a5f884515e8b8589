"""The ways to run one matrix with plain layers: dense, grouped, or in two parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from kswap.inference.layer_factory import LayerFactory
from kswap.nn.affine import Affine
from kswap.nn.implementation import Cost


@dataclass(frozen=True)
class MatrixLayer:
    """One way to run a matrix: the numbers that identify it, its cost, and what builds it.

    ``parameters`` are ``groups`` (1 is dense), ``spread`` (1: replicated channels are copied to their groups by a
    small dense layer first), ``extra`` (that many filters have a dense layer of their own) and ``interleave`` (1: an
    interleave runs before the layer); those that are 0 are left out.
    """

    parameters: Mapping[str, int]
    cost: Cost
    build: Callable[[], nn.Module] = field(repr=False, compare=False)


class ConcatChannels(nn.Module):
    """Two layers on the same input, their channels one after the other."""

    def __init__(self, first: nn.Module, second: nn.Module, dim: int) -> None:
        super().__init__()
        self.first = first
        self.second = second
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.first(x), self.second(x)], self.dim)


def divisors(number: int) -> list[int]:
    """Numbers from 2 up that divide ``number``.

    >>> divisors(12)
    [2, 3, 4, 6, 12]
    """
    return [d for d in range(2, number + 1) if number % d == 0]


def is_block_diagonal(reads: Tensor, groups: int) -> bool:
    """Whether outputs read inputs of their own group only; ``reads`` is ``(out, in)``, of booleans.

    >>> is_block_diagonal(torch.block_diag(torch.ones(2, 3), torch.ones(2, 3)) > 0, 2)
    True
    """
    outputs, inputs = reads.shape
    rows, columns = torch.nonzero(reads, as_tuple=True)
    return bool((rows // (outputs // groups) == columns // (inputs // groups)).all())


def one_layer(factory: LayerFactory, affine: Affine, reads: Tensor, strided: bool) -> Iterator[MatrixLayer]:
    """A matrix as a dense layer, and as a grouped one where it is block-diagonal.

    Args:
        factory: makes the layers.
        affine: the matrix, ``(out, in)``, and the bias.
        reads: which entries of the matrix can be other than 0, as booleans ``(out, in)``.
        strided: whether the layer has the stride of the block.
    """
    outputs, inputs = affine.weight.shape
    dense = partial(factory.dense, affine, strided)
    yield MatrixLayer({"groups": 1}, Cost(inputs * outputs, inputs + outputs), dense)
    for groups in divisors(inputs):
        if outputs % groups == 0 and is_block_diagonal(reads, groups):
            cost = Cost(inputs * outputs // groups, inputs + outputs)
            yield MatrixLayer({"groups": groups}, cost, partial(factory.diagonal, affine, groups, strided))


def spread_layers(factory: LayerFactory, affine: Affine, reads: Tensor, replicated: int) -> Iterator[MatrixLayer]:
    """Replicated channels: a small dense layer copies them to their groups, a grouped one follows."""
    outputs, inputs = affine.weight.shape
    whole = inputs + replicated
    for groups in divisors(whole) if replicated else ():
        if outputs % groups:
            continue
        width = whole // groups
        sources = (torch.arange(whole) % inputs).reshape(groups, width)
        inside = torch.zeros(groups, inputs, dtype=torch.bool)
        inside[torch.arange(groups)[:, None], sources] = True
        if (reads & ~inside.repeat_interleave(outputs // groups, 0)).any():
            continue
        cost = Cost(whole * inputs + width * outputs, inputs + 2 * whole + outputs)
        yield MatrixLayer({"groups": groups, "spread": 1}, cost, partial(_spreading, factory, affine, sources))


def _spreading(factory: LayerFactory, affine: Affine, sources: Tensor) -> nn.Module:
    groups, inputs = len(sources), affine.weight.shape[1]
    copies = torch.eye(inputs, dtype=affine.weight.dtype)[sources.flatten()]
    rows = affine.weight.chunk(groups)
    weight = torch.cat([part[:, own] for part, own in zip(rows, sources, strict=True)])
    return nn.Sequential(factory.layer(copies, None, strided=True), factory.layer(weight, affine.bias, groups))
