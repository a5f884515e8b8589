"""Several assignments of forms, built and timed as whole models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from kswap.graph.clone import full_clone
from kswap.inference.block_tuning import (
    Assignment,
    Watcher,
    blocks_of,
    densest,
    estimated,
    lower_half_median,
    measured,
    replace_blocks_,
)
from kswap.inference.fold_norms import fold_norms_, standardise_once_
from kswap.inference.folded_block import norm_count
from kswap.runtimes.targets import prepare
from kswap.timing import interleaved

# Runtimes that fuse operators and choose layouts over the borders of layers, and are quick to compile.
_LOOKS_AROUND = ("onnxruntime", "openvino")

_ROUNDS = 40
_LEAST_ROUNDS = 9
_SECONDS = 3.0

# A mixture has to be measured this much quicker than what it would replace.
_CLEARLY = 0.995


def with_forms(
    base: nn.Module, forms: Mapping[str, str], inputs: tuple[Any, ...]
) -> tuple[nn.Module, dict[str, tuple[int, int]], int]:
    """A copy of ``base`` with each block in its form and all norms folded.

    Gives it with the parameters of each block before and after, and how many norms were folded.
    """
    model = full_clone(base)
    inside = sum(norm_count(block) for block in blocks_of(model).values())
    params = replace_blocks_(model, forms)
    standardise_once_(model)
    return model, params, inside + len(fold_norms_(model, inputs))


def quickest(
    base: nn.Module,
    inputs: tuple[Any, ...],
    shapes: Mapping[str, torch.Size],
    target: str,
    threads: int | None,
    watch: Watcher | None = None,
) -> tuple[Assignment, dict[str, float]]:
    """The assignment with which the whole model is quickest, and the seconds of each that was tried.

    A block that is quickest by itself need not be so among its neighbours, so what was measured block by block is
    only proposed: alone, in context, estimated, all dense. Where a runtime looks around, the two quickest are then
    mixed kind by kind.
    """
    around = target in _LOOKS_AROUND

    def watched(name: str, blocks: int) -> None:
        if watch is not None:
            watch(name, blocks * (1 + around))

    alone = measured(base, shapes, target, threads, watch=watched)
    tried = {alone.label: alone, "dense": densest(base)}
    if target != "inductor":
        tried["estimated"] = estimated(base)
    if around:
        context = measured(base, shapes, target, threads, in_context=True, watch=watched)
        tried[context.label] = context
    seconds = _timed(base, tried, inputs, target, threads)
    best, *others = sorted(tried, key=seconds.__getitem__)
    chosen = tried[best]
    for other in others[:2] if around else ():
        chosen = _mixed(base, chosen, tried[other], inputs, target, threads, seconds)
    known = {name: times for name, times in chosen.seconds.items() if times}
    return replace(chosen, seconds={**alone.seconds, **known}), seconds


def _mixed(
    base: nn.Module,
    chosen: Assignment,
    other: Assignment,
    inputs: tuple[Any, ...],
    target: str,
    threads: int | None,
    seconds: dict[str, float],
) -> Assignment:
    """``chosen`` with the forms of ``other`` for those kinds of blocks that are quicker with them."""
    kinds: dict[str, set[str]] = {}
    for name, block in blocks_of(base).items():
        kinds.setdefault(_kind(block), set()).add(name)
    for names in kinds.values():
        mixture = chosen.mixed(other, names)
        if mixture.forms != chosen.forms:
            found = _timed(base, {"now": chosen, "then": mixture}, inputs, target, threads)
            if found["then"] < _CLEARLY * found["now"]:
                chosen = mixture
                seconds[mixture.label] = found["then"]
    return chosen


def _kind(block: Any) -> str:
    """Expansions, blocks with a sum behind an activation, and projections meet different neighbours."""
    if block.l is None:
        return "K alone"
    return "K + L" if block.k_act is None and getattr(block.k_norm, "act", None) is None else "K, activation, L"


def _timed(
    base: nn.Module,
    tried: Mapping[str, Assignment],
    inputs: tuple[Any, ...],
    target: str,
    threads: int | None,
) -> dict[str, float]:
    runs = {}
    for label, assignment in tried.items():
        model, _, _ = with_forms(base, assignment.forms, inputs)
        runs[label] = prepare(model, inputs, target, threads, quick=True).run
    times = interleaved(runs, rounds=_ROUNDS, seconds=_SECONDS, least=_LEAST_ROUNDS)
    return {label: lower_half_median(values) for label, values in times.items()}
