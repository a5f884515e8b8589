"""Several selections of implementations, built and timed as whole models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from kswap.inference.block_tuning import Watcher, lower_half_median, tune_blocks
from kswap.inference.selection import FoldedModel, Selection, build
from kswap.runtimes.targets import find_target, prepare
from kswap.timing import interleaved

_ROUNDS = 40
_LEAST_ROUNDS = 9
_SECONDS = 3.0

# A mixture has to be measured this much quicker than what it would replace. That is less than the noise of a busy
# machine, where two copies of a model differed by 0.8% to 3.8%: of two mixtures that are as good, either may be taken.
_CLEARLY = 0.995


@dataclass(frozen=True)
class TunedModel:
    """The selection with which the whole model is quickest, and its seconds with each that was tried, by label."""

    selection: Selection
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class _Tuning:
    """What all measurements of one model have in common."""

    folded: FoldedModel
    inputs: tuple[Any, ...]
    target: str
    threads: int | None

    def timed(self, tried: Mapping[str, Selection]) -> dict[str, float]:
        """The seconds of the whole model with each selection."""
        runs = {}
        for label, selection in tried.items():
            model = build(self.folded, selection, self.inputs).model
            runs[label] = prepare(model, self.inputs, self.target, self.threads, quick=True).run
        with find_target(self.target).settings(self.threads):
            times = interleaved(runs, rounds=_ROUNDS, seconds=_SECONDS, least=_LEAST_ROUNDS)
        return {label: lower_half_median(values) for label, values in times.items()}

    def mixed(self, chosen: Selection, other: Selection) -> TunedModel:
        """``chosen`` with what ``other`` has for those groups of blocks that are quicker with it.

        Returns it with the seconds of each mixture that was taken.
        """
        groups: dict[str, set[str]] = {}
        for name, candidates in self.folded.candidates.items():
            groups.setdefault(candidates.group, set()).add(name)
        taken = dict[str, float]()
        for names in groups.values():
            mixture = chosen.with_others(other, names)
            if mixture.chosen != chosen.chosen:
                found = self.timed({"now": chosen, "then": mixture})
                if found["then"] < _CLEARLY * found["now"]:
                    chosen = mixture
                    taken[mixture.label] = found["then"]
        return TunedModel(chosen, taken)


def tune_model(
    folded: FoldedModel,
    inputs: tuple[Any, ...],
    shapes: Mapping[str, torch.Size],
    target: str,
    threads: int | None,
    watch: Watcher | None = None,
) -> TunedModel:
    """The selection with which the whole model is quickest.

    A block that is quickest by itself need not be so among its neighbours, so what was measured block by block is
    only proposed: alone, in context, estimated, all dense. Where a target fuses across layers, the quickest is then
    mixed with the two that follow, group by group.
    """
    tuning, fuses = _Tuning(folded, inputs, target, threads), find_target(target).fuses_across_layers

    def watched(name: str, blocks: int) -> None:
        if watch is not None:
            watch(name, blocks * (1 + fuses))

    alone = tune_blocks(folded, shapes, target, threads, watch=watched)
    tried = {alone.label: alone, "dense": folded.densest()}
    if find_target(target).tries_estimate:
        tried["estimated"] = folded.estimated(target)
    if fuses:
        context = tune_blocks(folded, shapes, target, threads, in_context=True, watch=watched)
        tried[context.label] = context
    seconds = tuning.timed(tried)
    best, *others = sorted(tried, key=seconds.__getitem__)
    chosen = tried[best]
    for other in others[:2] if fuses else ():
        mixture = tuning.mixed(chosen, tried[other])
        chosen, seconds = mixture.selection, {**seconds, **mixture.seconds}
    known = {name: times for name, times in chosen.seconds.items() if times}
    return TunedModel(replace(chosen, seconds={**alone.seconds, **known}), seconds)
