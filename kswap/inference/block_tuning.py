"""Which implementation of each block is the quickest by itself: measured in the target that will run it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kswap.inference.candidates import Candidates
from kswap.inference.selection import FoldedModel, Selection
from kswap.nn import PointwiseBlock
from kswap.nn.implementation import ImplementationId
from kswap.runtimes.targets import find_target, prepare
from kswap.timing import interleaved

_SECONDS = 0.5
_ROUNDS = 300
_LEAST_ROUNDS = 5

# An implementation has to be measured this much quicker than the first one. Two copies of one layer, measured in this
# way on a busy machine, differed by 0.1% to 0.4%, and in one of ten cases by 1.4%.
_CLEARLY = 0.97

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
    runs: dict[ImplementationId, Callable[[], Any]] = {}
    for one in tried:
        layer = one.build()
        if surrounded:
            layer = _InContext(layer, (block.in_channels, block.out_channels)).to(block.weight)
        runs[one.id] = prepare(layer.eval(), (example,), target, threads, quick=True).run
    texts = {str(id_): run for id_, run in runs.items()}
    with find_target(target).settings(threads):
        times = interleaved(texts, rounds=_ROUNDS, seconds=_SECONDS, least=_LEAST_ROUNDS)
    seconds = {id_: lower_half_median(times[str(id_)]) for id_ in runs}
    best, first = min(seconds, key=seconds.__getitem__), tried[0].id
    return (best if seconds[best] < _CLEARLY * seconds[first] else first), seconds


def lower_half_median(seconds: list[float]) -> float:
    """The median of the quicker half: whatever else the machine does only ever makes a pass longer.

    >>> lower_half_median([3.0, 1.0, 9.0, 2.0])
    2.0
    """
    return statistics.median(sorted(seconds)[: len(seconds) // 2 + 1])
