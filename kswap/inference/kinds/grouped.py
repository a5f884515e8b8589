"""The block of the papers, K, interleave, L and sum, in plain layers.

Methods of its implementations: ``dense`` is one dense layer; ``k`` a block without L in another way than dense;
``collapse`` a grouped layer and a dense one, where the whole block is one matrix; ``sum`` runs K, what follows it,
and L, and adds; ``chain`` is the same of a block whose plan has no sum. On CUDA devices there are two more, which are
taken only where they are measured to be the quickest: ``triton`` is the whole block in one kernel, and in ``bmm`` both
paths of K and L are batched matrix products, one matrix per group. On CPUs ``native`` is kswap's own kernel, which runs
all of it at once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from kswap.inference.candidates import Candidates
from kswap.inference.layer_factory import LayerFactory
from kswap.inference.matrix import ConcatChannels, MatrixLayer, divisors, one_layer, spread_layers
from kswap.inference.native_block import FoldedLayer, NativeBlock, number_of
from kswap.inference.whole_block import WholeBlock
from kswap.nn import GroupedBlock, GroupedPointwise, Interleave
from kswap.nn.affine import Affine, affine_of
from kswap.nn.affine_norm import in_order, split_norm
from kswap.nn.fused_block import why_no_device, why_no_kernels
from kswap.nn.implementation import DENSE, NATIVE, Cost, Implementation, ImplementationId
from kswap.nn.norms_and_activations import is_activation
from kswap.planner.layout import GroupedLayout

# Filters of a group are padded to such multiples, which some runtimes need for their quickest kernels.
_MULTIPLES = (1, 8, 16)

_id = partial(ImplementationId.of, "grouped")


@dataclass(frozen=True)
class _Matrix:
    """A linear layer with all that is fixed in eval mode multiplied into it, and what follows and is not fixed.

    ``reads`` says which entries of the matrix the plan can fill at all, whatever its weights, as booleans
    ``(out, in)``. ``rest`` holds activations and norms of other kinds, or is ``None``.
    """

    affine: Affine
    reads: Tensor
    rest: nn.Module | None


@dataclass(frozen=True)
class FoldedBlock:
    """``k = rest_k(K x)``, then ``k + rest_l(L k)``; or ``shuffle(k)`` where there is no L.

    The interleave is multiplied into L, or into K where there is no L and what follows treats all channels alike.
    ``interleave`` is that before L; ``replicated`` and ``extra`` are the input channels of K that are read twice
    and the filters of its second path.
    """

    factory: LayerFactory
    k: _Matrix
    l: _Matrix | None = None  # noqa: E741 - K and L are the names of the papers
    sum: bool = True
    shuffle: nn.Module | None = None
    interleave: Interleave | None = None
    replicated: int = 0
    extra: int = 0


class SecondLayer(nn.Module):
    """``k = rest_k(K x)``; the output is ``k + rest_l(L k)``, or the second summand alone."""

    def __init__(
        self, k: nn.Module, rest_k: nn.Module | None, second: nn.Module, rest_l: nn.Module | None, sum: bool = True
    ) -> None:
        super().__init__()
        self.k = k
        self.rest_k = rest_k or nn.Identity()
        self.l = second
        self.rest_l = rest_l or nn.Identity()
        self.sum = sum

    def forward(self, x: Tensor) -> Tensor:
        k: Tensor = self.rest_k(self.k(x))
        second: Tensor = self.rest_l(self.l(k))
        return k + second if self.sum else second


def candidates(block: GroupedBlock) -> Candidates:
    """The ways to compute a grouped block; see :func:`kswap.inference.kinds.candidates_of`."""
    folded = fold(block)
    on_gpus, absent = _on_gpus(block)
    return Candidates(
        implementations=(*implementations_of(folded), *on_gpus, *_native(block, folded)),
        norms=sum(split_norm(norm)[0] is not None for norm in _norms(block)),
        likeness=(
            block.plan,
            folded.factory,
            repr(folded.k.rest),
            repr(folded.l and folded.l.rest),
            repr(folded.shuffle),
        ),
        group=_group(block, folded),
        absent=absent,
    )


def _on_gpus(block: GroupedBlock) -> tuple[list[Implementation], dict[ImplementationId, str]]:
    """The implementations for CUDA devices, and why there are none here."""
    found, absent = list[Implementation](), dict[ImplementationId, str]()
    if not block.can_fuse:
        return found, absent
    plan = block.plan
    assert plan.k is not None
    second, sums = 0 if plan.l is None else plan.l.weights, plan.l is not None and plan.sum
    inputs, outputs = plan.in_channels, plan.out_channels
    costs = {
        "triton": Cost((1 + sums) * plan.k.weights + second, inputs + outputs),
        "bmm": Cost(plan.k.weights + second, inputs + outputs * (1 + 5 * (second > 0))),
    }
    for method, obstacle in (("triton", why_no_kernels()), ("bmm", why_no_device())):
        if obstacle is not None:
            absent[_id(method)] = obstacle
            continue
        build = partial(WholeBlock, block, by_kernel=method == "triton")
        found.append(Implementation(_id(method), costs[method], build, frozenset({"cuda"}), only_measured=True))
    return found, absent


def _norms(block: GroupedBlock) -> tuple[nn.Module | None, ...]:
    return (block.k_norm,) if block.l is None else (block.k_norm, block.l_norm)


def _group(block: GroupedBlock, folded: FoldedBlock) -> str:
    """Expansions, projections, and blocks with an activation before L meet different neighbours."""
    if folded.l is None:
        return "K alone"
    has_activation = block.k_act is not None or getattr(block.k_norm, "act", None) is not None
    return "K, activation, L" if has_activation else "K + L"


def fold(block: GroupedBlock) -> FoldedBlock:
    """The matrices of a grouped block, with all that is fixed in eval mode multiplied into them."""
    plan = block.plan
    assert plan.k is not None
    dim, factory = block.k.dim, LayerFactory.like(block)
    replicated, extra = plan.k.replicated, plan.k.extra_groups
    norm, rest = split_norm(block.k_norm)
    rest = in_order(rest, block.k_act)
    k, reads = affine_of(nn.Sequential(block.k, norm or nn.Identity()), plan.in_channels, dim), _pattern(plan.k)
    if block.l is None or plan.l is None:
        shuffle: nn.Module | None = block.interleave
        if block.interleave is not None and (rest is None or _treats_channels_alike(rest)):
            order = block.interleave.order.cpu()
            k, reads, shuffle = k.rows(order), reads[order], None
        return FoldedBlock(factory, _Matrix(k, reads, rest), shuffle=shuffle, replicated=replicated, extra=extra)
    l_norm, l_rest = split_norm(block.l_norm)
    mixed = nn.Sequential(block.interleave or nn.Identity(), block.l, l_norm or nn.Identity())
    second = _Matrix(
        affine_of(mixed, plan.out_channels, dim), _pattern(plan.l, block.interleave), in_order(l_rest, block.l_act)
    )
    return FoldedBlock(
        factory,
        _Matrix(k, reads, rest),
        second,
        sum=plan.sum,
        interleave=block.interleave,
        replicated=replicated,
        extra=extra,
    )


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


def _treats_channels_alike(layer: nn.Module) -> bool:
    """Whether an activation does the same to every channel: one without parameters does."""
    return is_activation(layer) and not any(True for _ in layer.parameters())


def implementations_of(block: FoldedBlock) -> Iterator[Implementation]:
    """All implementations of a folded block, that of nothing but dense layers first."""
    if block.l is None:
        return _without_l(block)
    if block.k.rest is None and block.l.rest is None:
        return _collapsed(block, block.l)
    return _with_l(block, block.l)


def _native(block: GroupedBlock, folded: FoldedBlock) -> Iterator[Implementation]:
    """The whole block by kswap's own kernel, where that has its layers and activations."""
    plan, stride = block.plan, folded.factory.stride
    assert plan.k is not None
    layouts = [layout for layout in (plan.k, plan.l) if layout is not None]
    rests = folded.k.rest, None if folded.l is None else folded.l.rest
    if (
        len(stride) != 2
        or any(layout.group_width > layout.in_channels for layout in layouts)
        or any(number_of(rest) is None for rest in rests)
        or (folded.l is None and block.interleave is not None)
    ):
        return
    macs = sum(layout.out_channels * layout.group_width for layout in layouts)
    cost = Cost(macs, plan.in_channels + plan.out_channels)
    build = partial(_native_block, block, folded, (stride[0], stride[1]))
    yield Implementation(_id(NATIVE), cost, build, targets=frozenset({"eager"}))


def _native_block(block: GroupedBlock, folded: FoldedBlock, stride: tuple[int, int]) -> nn.Module:
    plan = block.plan
    assert plan.k is not None
    k = FoldedLayer(plan.k, folded.k.affine, copy.deepcopy(folded.k.rest))
    if folded.l is None or plan.l is None:
        return NativeBlock(k, None, 1, False, stride, block.weight)
    affine, step = folded.l.affine, 1
    if block.interleave is not None:
        step = block.interleave.step
        affine = Affine(affine.weight[:, block.interleave.order.cpu()], affine.bias)
    second = FoldedLayer(plan.l, affine, copy.deepcopy(folded.l.rest))
    return NativeBlock(k, second, step, plan.sum, stride, block.weight)


def _without_l(block: FoldedBlock) -> Iterator[Implementation]:
    for way in _k_layers(block):
        method = DENSE if way.parameters == {"groups": 1} else "k"
        parameters = {} if method == DENSE else way.parameters
        build = partial(_followed, way.build, block.k.rest, block.shuffle)
        yield Implementation(_id(method, **parameters), way.cost, build)


def _followed(layer: Callable[[], nn.Module], *rest: nn.Module | None) -> nn.Module:
    return in_order(layer(), *copy.deepcopy(rest)) or nn.Identity()


def _k_layers(block: FoldedBlock) -> Iterator[MatrixLayer]:
    """The ways to run K: as one layer, with its channels spread first, or with its second path by itself."""
    affine, reads = block.k.affine, block.k.reads
    yield from one_layer(block.factory, affine, reads, strided=True)
    yield from spread_layers(block.factory, affine, reads, block.replicated)
    if not block.extra:
        return
    outputs, inputs = affine.weight.shape
    end, start = torch.arange(outputs - block.extra, outputs), torch.arange(outputs - block.extra)
    rest = partial(block.factory.dense, affine.rows(end), True)
    first = affine.rows(start), reads[start]
    grouped = [*one_layer(block.factory, *first, strided=True)][1:]
    for way in (*grouped, *spread_layers(block.factory, *first, block.replicated)):
        cost = way.cost + Cost(inputs * block.extra, inputs + block.extra + 2 * outputs)
        build = partial(_concat_channels, way.build, rest, block.factory.dim)
        yield MatrixLayer({**way.parameters, "extra": block.extra}, cost, build)


def _concat_channels(first: Callable[[], nn.Module], second: Callable[[], nn.Module], dim: int) -> nn.Module:
    return ConcatChannels(first(), second(), dim)


def _l_layers(block: FoldedBlock, second: _Matrix) -> Iterator[MatrixLayer]:
    """The ways to run L: with the interleave in its weight, or after one."""
    yield from one_layer(block.factory, second.affine, second.reads, strided=False)
    if block.interleave is None:
        return
    order = block.interleave.order.cpu()
    straight = Affine(second.affine.weight[:, order], second.affine.bias)
    for way in [*one_layer(block.factory, straight, second.reads[:, order], strided=False)][1:]:
        build = partial(_after_interleave, block.interleave, way.build)
        yield MatrixLayer({**way.parameters, "interleave": 1}, way.cost + Cost(0, 2 * len(order)), build)


def _after_interleave(interleave: nn.Module, layer: Callable[[], nn.Module]) -> nn.Module:
    return nn.Sequential(copy.deepcopy(interleave), layer())


def _collapsed(block: FoldedBlock, second: _Matrix) -> Iterator[Implementation]:
    """K and L as one matrix, or as a grouped layer with all paths of K and a dense one that mixes them."""
    outputs, inputs = block.k.affine.weight.shape
    after_k = second.affine.plus_identity() if block.sum else second.affine
    whole = after_k @ block.k.affine
    dense = partial(block.factory.dense, whole, strided=True)
    yield Implementation(_id(DENSE), Cost(inputs * outputs, inputs + outputs), dense)
    for groups in divisors(inputs):
        # An output that reads several of these groups gets a filter in each: the second layer adds them up.
        filters = block.k.reads.reshape(outputs, groups, -1).any(2)
        most = int(filters.sum(0).max())
        for height in sorted({-(-most // multiple) * multiple for multiple in _MULTIPLES}):
            middle = groups * height
            cost = Cost(inputs * height + middle * outputs, inputs + 2 * middle + outputs)
            if cost.macs < inputs * outputs:
                build = partial(_mixing, block, after_k, whole.bias, filters, height)
                yield Implementation(_id("collapse", groups=groups, height=height), cost, build)


def _mixing(block: FoldedBlock, after_k: Affine, bias: Tensor, filters: Tensor, height: int) -> nn.Module:
    """A grouped layer with ``height`` filters per group, and after it a dense one.

    ``filters`` says which filters of K belong to which group, as booleans ``(out, groups)``.
    """
    weight = block.k.affine.weight
    (outputs, inputs), groups = weight.shape, filters.shape[1]
    width = inputs // groups
    first = weight.new_zeros(groups * height, width)
    mix = weight.new_zeros(outputs, groups * height)
    for g, chosen in enumerate(filters.T):
        rows = torch.nonzero(chosen).flatten()
        place = slice(g * height, g * height + len(rows))
        first[place] = weight[rows, g * width : (g + 1) * width]
        mix[:, place] = after_k.weight[:, rows]
    return nn.Sequential(block.factory.layer(first, None, groups, strided=True), block.factory.layer(mix, bias))


def _with_l(block: FoldedBlock, second: _Matrix) -> Iterator[Implementation]:
    """Something that is not linear follows K or L: both are run."""
    outputs = len(second.affine.weight)
    l_layers = [*_l_layers(block, second)]
    method, added = ("sum", Cost(0, 3 * outputs)) if block.sum else ("chain", Cost(0, 0))
    for k in _k_layers(block):
        for l in l_layers:  # noqa: E741
            parameters = {f"k_{name}": n for name, n in k.parameters.items()}
            parameters |= {f"l_{name}": n for name, n in l.parameters.items()}
            build = partial(_second_layer, block, k.build, second.rest, l.build)
            yield Implementation(_id(method, **parameters), k.cost + l.cost + added, build)


def _second_layer(
    block: FoldedBlock, k: Callable[[], nn.Module], rest_l: nn.Module | None, second: Callable[[], nn.Module]
) -> nn.Module:
    return SecondLayer(k(), copy.deepcopy(block.k.rest), second(), copy.deepcopy(rest_l), block.sum)
