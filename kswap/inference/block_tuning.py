"""Which implementation of each block is the quickest by itself: measured in the target that will run it."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kswap.errors import first_line
from kswap.inference.candidates import Candidates
from kswap.inference.selection import FoldedModel, Selection
from kswap.nn import PointwiseBlock
from kswap.nn.implementation import Implementation, ImplementationId
from kswap.runtimes.prepared import Prepared, relative_error
from kswap.runtimes.targets import find_target, prepare
from kswap.timing import interleaved

_SECONDS = 0.5
_ROUNDS = 300
_LEAST_ROUNDS = 5

# An implementation has to be measured this much quicker than the first one. Two copies of one layer, measured in this
# way on a busy machine, differed by 0.1% to 0.4%, and in one of ten cases by 1.4%.
_CLEARLY = 0.97

# Relative to the largest output: tensor cores round factors to 11 bits in tf32 and to 8 in bfloat16.
_MOST_ERROR = 0.03

# Called with the name of each block when it is done, and with how many there are.
Watcher = Callable[[str, int], None]

Seconds = dict[ImplementationId, float]


def tune_blocks(
    folded: FoldedModel,
    shapes: Mapping[str, torch.Size],
    target: str,
    threads: int | None,
    in_context: bool = False,
    watch: Watcher | None = None,
) -> Selection:
    """The quickest of the shortlisted implementations of each block, each measured on its own.

    Blocks that are alike are measured once. A block without a shape was not called, and is estimated.

    Args:
        folded: the model and its candidates.
        shapes: the input shape of each block by name.
        target: what runs the blocks.
        threads: of one operator.
        in_context: measure each implementation between two cheap convolutions, so that a runtime that keeps images
            in a layout of its own is charged for leaving it, and not for entering it.
        watch: is told each block.
    """
    known: dict[Hashable, tuple[ImplementationId, Seconds]] = {}
    chosen, seconds = {}, {}
    for name, candidates in folded.candidates.items():
        if name in shapes:
            key = (candidates.likeness, tuple(shapes[name]))
            if key not in known:
                known[key] = _quickest(candidates, folded.blocks[name], shapes[name], target, threads, in_context)
            chosen[name], seconds[name] = known[key]
        else:
            chosen[name], seconds[name] = candidates.estimated(target).id, {}
        if watch is not None:
            watch(name, len(folded.blocks))
    return Selection("in context" if in_context else "alone", chosen, seconds)


class _InContext(nn.Module):
    """A layer between two that work channel by channel."""

    def __init__(self, layer: nn.Module, channels: tuple[int, int]) -> None:
        super().__init__()
        before, after = channels
        self.before = nn.Conv2d(before, before, 1, groups=before)
        self.layer = layer
        self.after = nn.Conv2d(after, after, 1, groups=after)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.after(self.layer(self.before(x)))
        return result


def _quickest(
    candidates: Candidates,
    block: PointwiseBlock,
    shape: torch.Size,
    target: str,
    threads: int | None,
    in_context: bool,
) -> tuple[ImplementationId, Seconds]:
    tried = candidates.shortlist(target, find_target(target).most_implementations)
    if len(tried) == 1:
        return tried[0].id, {}
    example = torch.randn(shape).to(block.weight)
    surrounded = in_context and len(shape) == 4 and max(shape[2:]) > 1

    def prepared(one: Implementation) -> Prepared:
        layer = one.build()
        if surrounded:
            layer = _InContext(layer, (block.in_channels, block.out_channels)).to(block.weight)
        return prepare(layer.eval(), (example,), target, threads, quick=True)

    runs: dict[ImplementationId, Callable[[], Any]] = {}
    for one in tried:
        if one.only_measured:
            found = _proven(one, prepared, tried[0])
            if found is None:
                continue
            runs[one.id] = found.run
        else:
            runs[one.id] = prepared(one).run
    texts = {str(id_): run for id_, run in runs.items()}
    with find_target(target).settings(threads):
        times = interleaved(texts, rounds=_ROUNDS, seconds=_SECONDS, least=_LEAST_ROUNDS)
    seconds = {id_: lower_half_median(times[str(id_)]) for id_ in runs}
    best, first = min(seconds, key=seconds.__getitem__), tried[0].id
    return (best if seconds[best] < _CLEARLY * seconds[first] else first), seconds


def _proven(
    one: Implementation, prepared: Callable[[Implementation], Prepared], other: Implementation
) -> Prepared | None:
    """The pass of ``one``, or ``None`` where it fails on the device or has other outputs there than ``other``.

    Kernels that were written for a kind of device are not known to work on each device of that kind.
    """
    torch.manual_seed(0)  # what surrounds both is drawn alike
    wanted = prepared(other).outputs()
    torch.manual_seed(0)
    try:
        found = prepared(one)
        error = relative_error(wanted, found.outputs())
    except Exception as reason:  # whatever a compiler of kernels raises
        warnings.warn(f"{one.id} is left out, since it fails here: {first_line(reason)}", stacklevel=2)
        return None
    if not error <= _MOST_ERROR:
        warnings.warn(f"{one.id} is left out, since its outputs differ here by {error:.1g}", stacklevel=2)
        return None
    return found


def lower_half_median(seconds: list[float]) -> float:
    """The median of the quicker half: whatever else the machine does only ever makes a pass longer.

    >>> lower_half_median([3.0, 1.0, 9.0, 2.0])
    2.0
    """
    return statistics.median(sorted(seconds)[: len(seconds) // 2 + 1])
