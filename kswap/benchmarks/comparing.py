"""One comparison of an original with its rewritten model: both prepared alike, run in turns, and weighed."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from kswap.benchmarks.memory import MemoryRequest, Side, peak_memory
from kswap.benchmarks.model_pair import BenchmarkedModel, ModelPair, weights_bytes
from kswap.benchmarks.request import BenchmarkRequest
from kswap.benchmarks.result import Macs, Memory, Outside, Row, Seconds, Sizes
from kswap.benchmarks.steps import Step
from kswap.benchmarks.training_step import channels_last, in_training, training_step
from kswap.errors import KswapError
from kswap.inference.optimize import optimize_for_inference
from kswap.inference.record import optimization_of
from kswap.runtimes.prepared import slices_of
from kswap.runtimes.targets import find_target, prepare
from kswap.timing import MOST_ROUNDS, Spread, TimeComparison, interleaved
from kswap.training.optimize import optimize_for_training

_SIDES = ("original", "rewritten", "copy")


def compare(request: BenchmarkRequest, benchmarked: BenchmarkedModel, pair: ModelPair, step: Step) -> Row:
    """Make one comparison, and measure the memory of both sides where that is asked for."""
    inputs = pair.inputs(step.batch)
    if step.mode == "training":
        row = _row_of(request, pair, step, pair.converted, _trained(request, pair, step, inputs))
        return replace(row, outside=Outside(why_not="a training step is not split into layers"))
    original, rewritten = pair.original, pair.converted
    if step.form == "optimised":
        part = slices_of(inputs, step.slices)[0]
        original, rewritten = (_optimised(request, model, step, part) for model in (original, rewritten))
    row = _row_of(request, pair, step, rewritten, _run(request, (original, rewritten), step, inputs))
    row = replace(row, outside=_outside(request, pair, step, original, inputs))
    if not request.memory or step.form != "optimised" or step.slice or isinstance(benchmarked.model, nn.Module):
        return row

    def peak(side: Side, model: nn.Module) -> int | None:
        with contextlib.suppress(KswapError):  # the times are worth more than to be lost for this
            chosen = _implementations_of(model)
            return peak_memory(MemoryRequest(benchmarked, side, step.batch, step.target, request.threads, chosen))
        return None

    return replace(row, memory_bytes=Memory(peak("original", original), peak("rewritten", rewritten)))


def _outside(
    request: BenchmarkRequest, pair: ModelPair, step: Step, original: nn.Module, inputs: tuple[Tensor, ...]
) -> Outside:
    """The share of a pass of the original that its target spends outside the replaced layers, if it can tell."""
    target = find_target(step.target)
    if target.share_of is None:
        return Outside(why_not=target.no_share)
    if _is_narrowed(pair):
        return Outside(why_not="layers that were kept have fewer channels, and take less time too")
    replaced = [site.name for site in pair.report.sites if site.action == "replace"]
    part = slices_of(inputs, step.slices)[0]
    try:
        with target.settings(request.threads):
            return Outside(1 - target.share_of(original, part, replaced, request.threads))
    except KswapError as error:
        return Outside(why_not=str(error))


def _is_narrowed(pair: ModelPair) -> bool:
    """Whether layers that both sides have are smaller in the converted one."""
    before = {name: parameter.shape for name, parameter in pair.original.named_parameters()}
    return any(before.get(name, p.shape) != p.shape for name, p in pair.converted.named_parameters())


def _optimised(request: BenchmarkRequest, model: nn.Module, step: Step, inputs: tuple[Tensor, ...]) -> nn.Module:
    return optimize_for_inference(
        model,
        example_input=inputs,
        target=step.target,
        autotune=request.autotune,
        threads=request.threads,
        native=(request.native and step.target == "eager") or None,
    )


def _implementations_of(model: nn.Module) -> dict[str, str]:
    """What :func:`optimize_for_inference` chose for each block."""
    return {name: str(id_) for name, id_ in optimization_of(model).implementations.items()}


def _run(
    request: BenchmarkRequest, models: tuple[nn.Module, nn.Module], step: Step, inputs: tuple[Tensor, ...]
) -> dict[str, list[float]]:
    """Seconds of passes of the original, the rewritten model, and the original prepared a second time."""
    original, rewritten = models
    sides = zip(_SIDES, (original, rewritten, original), strict=True)
    threads, slices = request.threads, step.slices
    return _times(
        request,
        step,
        {side: prepare(model, inputs, step.target, threads, slices=slices).run for side, model in sides},
    )


def _trained(
    request: BenchmarkRequest, pair: ModelPair, step: Step, inputs: tuple[Tensor, ...]
) -> dict[str, list[float]]:
    """Seconds of training steps of copies of the same three."""
    device = torch.device(step.device)
    batch = tuple(channels_last(x, device) for x in inputs)
    runs = {}
    for side, model in zip(_SIDES, (pair.original, pair.converted, pair.original), strict=True):
        trained = in_training(model, device)
        if side == "rewritten" and step.form == "optimised":
            trained = optimize_for_training(trained, batch, autotune=request.autotune)
        runs[side] = training_step(trained, batch)
    return _times(request, step, runs)


def _times(request: BenchmarkRequest, step: Step, runs: Mapping[str, Callable[[], Any]]) -> dict[str, list[float]]:
    gc.collect()
    with find_target(step.target).settings(request.threads):
        if request.rounds is not None:
            return interleaved(runs, request.rounds)
        return interleaved(runs, MOST_ROUNDS, seconds=request.seconds)


def _row_of(
    request: BenchmarkRequest, pair: ModelPair, step: Step, stored: nn.Module, times: Mapping[str, Sequence[float]]
) -> Row:
    report = pair.report
    sizes = (pair.original, pair.converted, stored)
    return Row(
        model=report.model,
        ch=report.ch,
        scheme=report.scheme,
        kind=report.kind,
        align=pair.align,
        input_size=report.input_size,
        batch=step.batch,
        target=step.target,
        threads=request.threads or torch.get_num_threads(),
        device=step.device,
        mode=step.mode,
        form=step.form,
        slice=step.slice,
        **vars(TimeComparison.of(*(times[side] for side in _SIDES))),
        seconds=Seconds(Spread.of(times["original"]), Spread.of(times["rewritten"])),
        params=Sizes(*(sum(p.numel() for p in model.parameters()) for model in sizes)),
        macs=Macs(report.macs.before, report.macs.after),
        weights_bytes=Sizes(*(weights_bytes(model) for model in sizes)),
    )
