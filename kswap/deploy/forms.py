"""The forms in which a block can be run with plain layers, all with the same outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from kswap.deploy.affine import Affine
from kswap.deploy.folded import FoldedBlock
from kswap.deploy.norms import in_order

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
class _Single:
    """One matrix as a dense or a grouped layer."""

    name: str
    groups: int
    macs: int
    layer: Callable[[], nn.Module]


def _singles(block: FoldedBlock, affine: Affine, reads: Tensor, strided: bool) -> Iterator[_Single]:
    outputs, inputs = affine.weight.shape
    maker = block.maker
    yield _Single(DENSE, 1, inputs * outputs, lambda: maker.dense(affine, strided))
    for groups in divisors(inputs):
        if outputs % groups == 0 and is_block_diagonal(reads, groups):
            layer = lambda groups=groups: maker.diagonal(affine, groups, strided)  # noqa: E731
            yield _Single(f"{groups} groups", groups, inputs * outputs // groups, layer)


def _built(layer: Callable[[], nn.Module], *after: nn.Module | None) -> Callable[[], nn.Module]:
    return lambda: in_order(layer(), *after) or nn.Identity()


def _alone(block: FoldedBlock) -> Iterator[Form]:
    """K without L."""
    outputs, inputs = block.k.weight.shape
    for single in _singles(block, block.k, block.k_reads, strided=True):
        build = _built(single.layer, block.after_k, block.shuffle)
        yield Form(single.name, single.macs, inputs + outputs, build)
    if block.replicated and block.shuffle is None:
        yield from _spread(block)


def _spread(block: FoldedBlock) -> Iterator[Form]:
    """K with replication: a small dense layer copies the channels to their groups, a grouped one follows."""
    outputs, inputs = block.k.weight.shape
    whole = inputs + block.replicated
    for groups in divisors(whole):
        if outputs % groups:
            continue
        width = whole // groups
        sources = torch.arange(whole) % inputs
        rows = block.k.weight.chunk(groups)
        reads = block.k_reads.chunk(groups)
        own = [sources[g * width : (g + 1) * width] for g in range(groups)]
        if any(reads[g][:, ~torch.isin(torch.arange(inputs), own[g])].any() for g in range(groups)):
            continue
        copies = torch.eye(inputs, dtype=torch.float64)[sources]
        weight = torch.cat([rows[g][:, own[g]] for g in range(groups)])

        def build(copies: Tensor = copies, weight: Tensor = weight, groups: int = groups) -> nn.Module:
            spread = block.maker.layer(copies, None, strided=True)
            made = in_order(spread, block.maker.layer(weight, block.k.bias, groups), block.after_k)
            assert made is not None
            return made

        macs = whole * inputs + width * outputs
        yield Form(f"spread, {groups} groups", macs, inputs + 2 * whole + outputs, build)


def _collapsed(block: FoldedBlock, second: Affine) -> Iterator[Form]:
    """K + L K as one matrix, or as a grouped layer with all paths of K and a dense one that mixes them."""
    outputs, inputs = block.k.weight.shape
    both = second.plus_identity()
    whole = both @ block.k
    yield Form(DENSE, inputs * outputs, inputs + outputs, lambda: block.maker.dense(whole, strided=True))
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
    return nn.Sequential(block.maker.layer(first, None, groups, strided=True), block.maker.layer(mix, bias))


def _with_sum(block: FoldedBlock, second: Affine, reads: Tensor) -> Iterator[Form]:
    """An activation stands between K and L: both are run, and the sum."""
    outputs, inputs = block.k.weight.shape
    for k in _singles(block, block.k, block.k_reads, strided=True):
        for mix in _singles(block, second, reads, strided=False):

            def build(k: _Single = k, mix: _Single = mix) -> nn.Module:
                return Residual(k.layer(), block.after_k, mix.layer(), block.after_l)

            yield Form(f"K {k.name}, L {mix.name}", k.macs + mix.macs, inputs + 5 * outputs, build)


def forms_of(block: FoldedBlock) -> tuple[Form, ...]:
    """All forms, that of nothing but dense layers first; they differ in speed and in what is stored, not in outputs.

    >>> from kswap.deploy.folded import fold
    >>> from kswap.nn import PointwiseBlock
    >>> from kswap.planner import plan_layer
    >>> [form.name for form in forms_of(fold(PointwiseBlock(plan_layer(64, 96, ch=16))))]
    ['dense', '2 groups', '4 groups']
    """
    if block.l is None or block.l_reads is None:
        return tuple(_alone(block))
    if block.is_affine:
        return tuple(_collapsed(block, block.l))
    return tuple(_with_sum(block, block.l, block.l_reads))


def likely(forms: tuple[Form, ...], most: int) -> tuple[Form, ...]:
    """The first form and those with the least estimated cost, ``most`` in all."""
    rest = sorted(forms[1:], key=lambda form: form.cost)
    return (forms[0], *rest[: most - 1])


def estimated_best(forms: tuple[Form, ...]) -> Form:
    """The form to take without measuring: the first, unless another is estimated to be clearly quicker."""
    best = min(forms, key=lambda form: form.cost)
    return best if best.cost < _MARGIN * forms[0].cost else forms[0]
