"""Original and rewritten model side by side: built, treated alike, run in turns, compared."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import nn

from kswap.benchmarks.comparing import compare
from kswap.benchmarks.environment import Machine
from kswap.benchmarks.model_pair import BenchmarkedModel, ModelPair
from kswap.benchmarks.request import BenchmarkRequest
from kswap.benchmarks.result import Benchmark, Row, read_benchmark
from kswap.benchmarks.steps import chosen_targets, steps_of
from kswap.benchmarks.worker import call_in_process
from kswap.codec import decode, encode
from kswap.conversion import plan
from kswap.errors import DeployError, KswapError
from kswap.malloc import keeping_memory
from kswap.progress import progress_bar
from kswap.runtimes.prepared import torch_threads
from kswap.saved.reading import read_report
from kswap.sources.device import choose_device


def bench(
    models: str | Path | nn.Module | Sequence[str | Path | nn.Module],
    ch: int | Sequence[int] = 16,
    *,
    progress: bool = True,
    **options: Any,
) -> Benchmark:
    """Time models against their originals, both optimised alike, and say which differences are more than noise.

    Names and directories are measured in a fresh process in which glibc keeps memory between passes; modules in this
    one.

    Args:
        models: Names, saved directories or modules; one, or several.
        ch: Channels per group; one number, or several.
        progress: Draws a bar on a terminal.
        options: The other fields of :class:`kswap.benchmarks.request.BenchmarkRequest`, such as ``batches=(1, 16)``,
            ``targets="all"``, ``threads=1`` or ``train=True``.

    Raises:
        KswapError: A model or a target cannot be measured here.

    ``bench("efficientnet_b0", batches=(1, 16)).rows[0].comparison.verdict`` is ``"faster"``, ``"slower"``,
    ``"no difference"`` or ``"too few rounds"``.
    """
    request = BenchmarkRequest(models=models, ch=ch, **options)  # type: ignore[arg-type]
    if any(isinstance(model, nn.Module) for model in request.models):
        return run_benchmark(request, progress)
    return run_in_process(request, progress)


def _signature() -> inspect.Signature:
    """That of :func:`bench`, with every option and its default."""
    own = inspect.signature(bench).parameters
    fixed = [own["models"], own["ch"], own["progress"]]
    keyword = inspect.Parameter.KEYWORD_ONLY
    more = [
        inspect.Parameter(field.name, keyword, default=field.default, annotation=field.type)
        for field in fields(BenchmarkRequest)
        if field.name not in own
    ]
    return inspect.Signature([*fixed, *more], return_annotation=Benchmark)


bench.__signature__ = _signature()  # type: ignore[attr-defined]


def run_in_process(request: BenchmarkRequest, progress: bool = True) -> Benchmark:
    """As :func:`run_benchmark`, in a fresh process in which glibc keeps memory between passes. Models are names.

    Raises :class:`kswap.errors.KswapError` subclasses.
    """
    asked = {"request": encode(request), "progress": progress}
    return read_benchmark(call_in_process(answer, asked, keeping_memory(os.environ)))


def answer(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the fresh process of :func:`run_in_process` does."""
    request = decode(BenchmarkRequest, asked["request"], "the request of a benchmark", DeployError)
    return run_benchmark(request, bool(asked["progress"])).to_json()


def run_benchmark(request: BenchmarkRequest, progress: bool = True) -> Benchmark:
    """Measure in this process. Everything that can be refused is refused before the first time is taken.

    One comparison of several that cannot be made becomes a note. Raises :class:`kswap.errors.KswapError`
    subclasses.
    """
    device = choose_device(request.device)
    steps = steps_of(request, chosen_targets(request.targets, device, request.device), device)
    benchmarked = BenchmarkedModel.all_of(request)
    for one in benchmarked:
        _check(one)
    rows: list[Row] = []
    failures: list[tuple[str, KswapError]] = []
    with (
        torch_threads(request.threads),
        progress_bar("building", len(benchmarked) * len(steps), shown=progress, steady=False) as bar,
    ):
        for one in benchmarked:
            pair = ModelPair.of(one)
            for step in steps:
                label = f"{pair.report.model} Ch={pair.report.ch} {step}"
                bar.label(label)
                try:
                    rows.append(compare(request, one, pair, step))
                except KswapError as error:
                    failures.append((label, error))
                bar.advance()
            del pair
    if not rows:
        raise failures[0][1]
    notes = tuple(f"{label} could not be measured: {error}" for label, error in failures)
    return Benchmark(Machine.here(request.threads), tuple(rows), notes, request.command)


def _check(benchmarked: BenchmarkedModel) -> None:
    """Refuse a model that is unknown or has nothing to replace, without building its weights."""
    if benchmarked.is_saved:
        read_report(str(benchmarked.model))
        return
    kwargs: dict[str, Any] = {"kind": benchmarked.kind, "align": benchmarked.align}
    if benchmarked.num_classes is not None:
        kwargs["num_classes"] = benchmarked.num_classes
    plan(benchmarked.model, benchmarked.ch, benchmarked.scheme, input_size=benchmarked.input_size, **kwargs)
