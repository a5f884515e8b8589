"""Times of all networks of a study, side by side in one process, each against the same one."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kswap.benchmarks.environment import Machine
from kswap.inference.optimize import optimize_for_inference
from kswap.runtimes.export import export_model
from kswap.runtimes.targets.onnxruntime import session
from kswap.timing import Spread, interleaved, median_interval

_ROUNDS = 101


@dataclass(frozen=True)
class Latency:
    """Seconds of one pass, and by how much it is faster than one of the original, with the 95% interval of that."""

    seconds: Spread
    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class Latencies:
    """By name of the network, the original among them; and where they were measured."""

    networks: Mapping[str, Latency]
    side: int
    rounds: int
    machine: Machine


def compared(runs: Mapping[str, Callable[[], Any]], original: str, rounds: int, warmup: int) -> dict[str, Latency]:
    """Time each of ``runs`` once in every round, in an order that changes, against the one called ``original``."""
    times = interleaved(runs, rounds, warmup=warmup)
    found = {}
    for name, seconds in times.items():
        ratios = [a / b for a, b in zip(times[original], seconds, strict=True)]
        low, high = median_interval(ratios) or (min(ratios), max(ratios))
        found[name] = Latency(Spread.of(seconds), statistics.median(ratios), low, high)
    return found


def write_graph(model: nn.Module, input_size: tuple[int, int, int], path: Path, threads: int) -> None:
    """Optimise ``model`` for ONNX Runtime, by measuring, and write it as a graph that takes one picture."""
    example = example_of(*input_size)
    optimised = optimize_for_inference(model, example, target="onnxruntime", threads=threads)
    path.parent.mkdir(parents=True, exist_ok=True)
    export_model(optimised, example, "onnx", path, force=True)


def latencies_of(graphs: Path, original: str, side: int, threads: int, rounds: int = _ROUNDS) -> Latencies:
    """Time every graph in a directory in ONNX Runtime, one pass of each in every round."""
    runs = {}
    for path in sorted(graphs.glob("*.onnx")):
        made = session(str(path), threads)
        given = made.get_inputs()[0]
        runs[path.stem] = partial(made.run, None, {given.name: example_of(*given.shape[1:]).numpy()})
    return Latencies(compared(runs, original, rounds, warmup=5), side, rounds, Machine.here(threads))


def example_of(channels: int, height: int, width: int) -> Tensor:
    """One picture of noise, the same each time, ``(1, channels, height, width)``."""
    return torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(0))
