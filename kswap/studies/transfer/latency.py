"""Latencies in ONNX Runtime: all networks of a study side by side, in one process."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from kswap.benchmarks.environment import Machine
from kswap.inference.optimize import optimize_for_inference
from kswap.runtimes.export import export_model
from kswap.runtimes.targets.onnxruntime import session
from kswap.studies.transfer.settings import Settings
from kswap.studies.transfer.subject import Subject
from kswap.timing import Spread, interleaved, median_interval

ORIGINAL = "original"
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
    """By name of the network, :data:`ORIGINAL` among them; and where they were measured."""

    networks: Mapping[str, Latency]
    side: int
    rounds: int
    machine: Machine


def write_graph(model: nn.Module, subject: Subject, path: Path) -> None:
    """Optimise ``model`` for ONNX Runtime, by measuring, and write it as a graph that takes one picture."""
    settings = subject.settings
    example = _example(subject.input_size[0], settings.latency_side)
    optimised = optimize_for_inference(model, example, target="onnxruntime", threads=settings.threads)
    path.parent.mkdir(parents=True, exist_ok=True)
    export_model(optimised, example, "onnx", path, force=True)


def measured(graphs: Path, settings: Settings) -> Latencies:
    """Time every graph in a directory, one pass of each in every round, in an order that changes."""
    runs = {}
    for path in sorted(graphs.glob("*.onnx")):
        made = session(str(path), settings.threads)
        given = made.get_inputs()[0]
        runs[path.stem] = partial(made.run, None, {given.name: _example(*given.shape[1:3]).numpy()})
    times = interleaved(runs, _ROUNDS, warmup=5)
    networks = {}
    for name, seconds in times.items():
        ratios = [a / b for a, b in zip(times[ORIGINAL], seconds, strict=True)]
        low, high = median_interval(ratios) or (ratios[0], ratios[0])
        networks[name] = Latency(Spread.of(seconds), statistics.median(ratios), low, high)
    return Latencies(networks, settings.latency_side, _ROUNDS, Machine.here(settings.threads))


def _example(channels: int, side: int) -> Tensor:
    return torch.randn(1, channels, side, side, generator=torch.Generator().manual_seed(0))
