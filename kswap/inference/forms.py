"""The forms in which a block can be run with plain layers, all with the same outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from kswap.inference.folded_block import FoldedBlock
from kswap.inference.layer_factory import LayerFactory
from kswap.nn.affine import Affine
from kswap.nn.affine_norm import in_order

DENSE = "dense"

# Filters of a group are padded to such multiples, which some runtimes need for their quickest kernels.
_MULTIPLES = (1, 8, 16)

# Reading or writing a number costs about as much as so many MACs, on a CPU with wide vectors.
_MACS_PER_NUMBER = 16

# A form that is only estimated to be quicker than the first one has to be so by this much.
_MARGIN = 0.8


@dataclass(frozen=True)
class Form:
    """One way to run a block: ``name`` says which, ``macs`` and ``moved`` (numbers read and written) are for
    each position of its output, ``build`` makes the layers."""

    name: str
    macs: int
    moved: int
    build: Callable[[], nn.Module]

    @property
    def cost(self) -> int:
        """An estimate of its time, in MACs a position."""
        return self.macs + _MACS_PER_NUMBER * self.moved


class Residual(nn.Module):
    """``k = after_k(K x)``; the output is ``k + after_l(L k)``."""

    def __init__(self, k: nn.Module, after_k: nn.Module | None, second: nn.Module, after_l: nn.Module | None) -> None:
        super().__init__()
        self.k = k
        self.after_k = after_k or nn.Identity()
        self.l = second
        self.after_l = after_l or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        k: Tensor = self.after_k(self.k(x))
        second: Tensor = self.after_l(self.l(k))
        return k + second


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


@dataclass(frozen=True)
class _Part:
    """One way to run K or L: what stands for one matrix."""

    name: str
    macs: int
    moved: int
    layer: Callable[[], nn.Module]


class ConcatChannels(nn.Module):
    """Two layers on the same input, their channels one after the other."""

    def __init__(self, first: nn.Module, second: nn.Module, dim: int) -> None:
        super().__init__()
        self.first = first
        self.second = second
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.first(x), self.second(x)], self.dim)


def _simple(factory: LayerFactory, affine: Affine, reads: Tensor, strided: bool) -> Iterator[_Part]:
    """One matrix as a dense layer, or as a grouped one where it is block-diagonal."""
    outputs, inputs = affine.weight.shape
    yield _Part(DENSE, inputs * outputs, inputs + outputs, lambda: factory.dense(affine, strided))
    for groups in divisors(inputs):
        if outputs % groups == 0 and is_block_diagonal(reads, groups):
            layer = partial(factory.diagonal, affine, groups, strided)
            yield _Part(f"{groups} groups", inputs * outputs // groups, inputs + outputs, layer)


def _k_parts(block: FoldedBlock) -> Iterator[_Part]:
    """The ways to run K: as one layer, with its channels spread first, or with its second path apart."""
    yield from _simple(block.factory, block.k, block.k_reads, strided=True)
    yield from _spread(block.factory, block.k, block.k_reads, block.replicated)
    if not block.extra:
        return
    outputs, inputs = block.k.weight.shape
    end = torch.arange(outputs - block.extra, outputs)
    start = torch.arange(outputs - block.extra)
    rest = partial(block.factory.dense, block.k.rows(end), True)
    first = block.k.rows(start), block.k_reads[start]
    ways = [*_simple(block.factory, *first, strided=True)][1:]
    for way in (*ways, *_spread(block.factory, *first, block.replicated)):
        layer = partial(_concat_channels, way.layer, rest, block.factory.dim)
        moved = way.moved + inputs + block.extra + 2 * outputs
        yield _Part(f"{way.name} and {block.extra} dense", way.macs + inputs * block.extra, moved, layer)


def _concat_channels(first: Callable[[], nn.Module], second: Callable[[], nn.Module], dim: int) -> nn.Module:
    return ConcatChannels(first(), second(), dim)


def _spread(factory: LayerFactory, affine: Affine, reads: Tensor, replicated: int) -> Iterator[_Part]:
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
        yield _Part(
            f"spread, {groups} groups",
            whole * inputs + width * outputs,
            inputs + 2 * whole + outputs,
            partial(_spreading, factory, affine, sources),
        )


def _spreading(factory: LayerFactory, affine: Affine, sources: Tensor) -> nn.Module:
    groups, inputs = len(sources), affine.weight.shape[1]
    copies = torch.eye(inputs, dtype=affine.weight.dtype)[sources.flatten()]
    rows = affine.weight.chunk(groups)
    weight = torch.cat([part[:, own] for part, own in zip(rows, sources, strict=True)])
    return nn.Sequential(factory.layer(copies, None, strided=True), factory.layer(weight, affine.bias, groups))


def _l_parts(block: FoldedBlock, second: Affine, reads: Tensor) -> Iterator[_Part]:
    """The ways to run L: with the interleave in its weight, or behind one."""
    yield from _simple(block.factory, second, reads, strided=False)
    if block.interleave is None:
        return
    order = block.interleave.order.cpu()
    straight = Affine(second.weight[:, order], second.bias)
    for way in [*_simple(block.factory, straight, reads[:, order], strided=False)][1:]:
        layer = partial(_behind, block.interleave, way.layer)
        yield _Part(f"interleave, {way.name}", way.macs, way.moved + 2 * len(order), layer)


def _behind(interleave: nn.Module, layer: Callable[[], nn.Module]) -> nn.Module:
    return nn.Sequential(interleave, layer())


def _alone(block: FoldedBlock) -> Iterator[Form]:
    """K without L."""
    for way in _k_parts(block):
        yield Form(way.name, way.macs, way.moved, partial(_with_rest, way.layer, block.after_k, block.shuffle))


def _with_rest(layer: Callable[[], nn.Module], *after: nn.Module | None) -> nn.Module:
    return in_order(layer(), *after) or nn.Identity()


def _collapsed(block: FoldedBlock, second: Affine) -> Iterator[Form]:
    """K + L K as one matrix, or as a grouped layer with all paths of K and a dense one that mixes them."""
    outputs, inputs = block.k.weight.shape
    both = second.plus_identity()
    whole = both @ block.k
    yield Form(DENSE, inputs * outputs, inputs + outputs, lambda: block.factory.dense(whole, strided=True))
    for groups in divisors(inputs):
        # An output that reads several of these groups gets a filter in each: the second layer adds them up.
        filters = block.k_reads.reshape(outputs, groups, -1).any(2)
        most = int(filters.sum(0).max())
        for height in sorted({-(-most // multiple) * multiple for multiple in _MULTIPLES}):
            middle = groups * height
            macs = inputs * height + middle * outputs
            if macs < inputs * outputs:
                build = partial(_mixing, block, both, whole.bias, filters, height)
                yield Form(f"{groups} groups of {height}, dense", macs, inputs + 2 * middle + outputs, build)


def _mixing(block: FoldedBlock, both: Affine, bias: Tensor, filters: Tensor, height: int) -> nn.Module:
    """A grouped layer with ``height`` filters a group and a dense one behind it.

    ``filters`` says which filters of K stand in which group, ``(out, groups)``.
    """
    weight = block.k.weight
    (outputs, inputs), groups = weight.shape, filters.shape[1]
    width = inputs // groups
    first = weight.new_zeros(groups * height, width)
    mix = weight.new_zeros(outputs, groups * height)
    for g, chosen in enumerate(filters.T):
        rows = torch.nonzero(chosen).flatten()
        place = slice(g * height, g * height + len(rows))
        first[place] = weight[rows, g * width : (g + 1) * width]
        mix[:, place] = both.weight[:, rows]
    return nn.Sequential(block.factory.layer(first, None, groups, strided=True), block.factory.layer(mix, bias))


def _with_sum(block: FoldedBlock, second: Affine, reads: Tensor) -> Iterator[Form]:
    """An activation stands between K and L: both are run, and the sum."""
    outputs = len(second.weight)
    mixes = [*_l_parts(block, second, reads)]
    for k in _k_parts(block):
        for mix in mixes:
            build = partial(_residual, block, k.layer, mix.layer)
            yield Form(f"K {k.name}; L {mix.name}", k.macs + mix.macs, k.moved + mix.moved + 3 * outputs, build)


def _residual(block: FoldedBlock, k: Callable[[], nn.Module], second: Callable[[], nn.Module]) -> nn.Module:
    return Residual(k(), block.after_k, second(), block.after_l)


# What models ask a layer for, beside its weight and bias.
_SIZES = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
_FEATURES = ("in_features", "out_features")


class DropIn(nn.Module):
    """Stands where a block was: ``layers`` compute it, and models that ask the layer for its sizes, dtype or device
    get the block's."""

    def __init__(self, layers: nn.Module, sizes: dict[str, Any]) -> None:
        super().__init__()
        self.layers = layers
        for name, value in sizes.items():
            setattr(self, name, value)

    @property
    def weight(self) -> Tensor:
        """The first weight of the layers."""
        return next(p for p in self.layers.parameters() if p.ndim > 1)

    @property
    def bias(self) -> Tensor | None:
        """The first bias of the layers."""
        return next((p for p in self.layers.parameters() if p.ndim == 1), None)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return result


def stand_for(block: nn.Module, made: nn.Module) -> nn.Module:
    """``made`` with the sizes of the ``block`` that it replaces; a plain layer has them already."""
    if isinstance(made, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return made
    names = (*_SIZES, *_FEATURES)
    return DropIn(made, {name: getattr(block, name) for name in names if hasattr(block, name)})


def forms_of(block: FoldedBlock) -> tuple[Form, ...]:
    """All forms, that of nothing but dense layers first; they differ in speed and in what is stored, not in outputs.

    >>> from kswap.inference.folded_block import fold
    >>> from kswap.nn import PointwiseBlock
    >>> from kswap.planner import plan_layer
    >>> [form.name for form in forms_of(fold(GroupedBlock(plan_layer(64, 96, ch=16))))]
    ['dense', '2 groups', '4 groups']
    """
    if block.l is None or block.l_reads is None:
        return tuple(_alone(block))
    if block.is_affine:
        return tuple(_collapsed(block, block.l))
    return tuple(_with_sum(block, block.l, block.l_reads))


def shortlist(forms: tuple[Form, ...], most: int) -> tuple[Form, ...]:
    """The first form and those with the least estimated cost, ``most`` in all."""
    rest = sorted(forms[1:], key=lambda form: form.cost)
    return (forms[0], *rest[: most - 1])


def least_cost(forms: tuple[Form, ...]) -> Form:
    """The form to take without measuring: the first, unless another is estimated to be clearly quicker."""
    best = min(forms, key=lambda form: form.cost)
    return best if best.cost < _MARGIN * forms[0].cost else forms[0]
