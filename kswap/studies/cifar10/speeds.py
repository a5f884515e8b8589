"""How quick the networks of a study are: in ONNX Runtime, in plain PyTorch, and in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from kswap.benchmarks.environment import Machine
from kswap.benchmarks.training_step import channels_last, in_training, training_step
from kswap.graph.clone import full_clone
from kswap.nn import PointwiseBlock
from kswap.progress import ProgressBar
from kswap.runtimes.prepared import torch_threads
from kswap.studies.cifar10.files import StudyFiles
from kswap.studies.cifar10.methods import find_method
from kswap.studies.cifar10.settings import Settings
from kswap.studies.latency import Latency, compared, example_of, latencies_of, write_graph
from kswap.training.optimize import optimize_for_training

BASELINE = "baseline"
_ROUNDS = 51
_BATCH, _STEPS = 64, 9


@dataclass(frozen=True)
class Speeds:
    """Times by method, each against the baseline, and where they were measured.

    Args:
        onnxruntime: One picture, every network optimised for it.
        pytorch: One picture, every network as it is made.
        training: A step of a batch of ``batch`` pictures, with SGD.
        batch: Pictures of a step.
        side: Height and width in pixels.
        machine: Where, on how many threads.
    """

    onnxruntime: Mapping[str, Latency]
    pytorch: Mapping[str, Latency]
    training: Mapping[str, Latency]
    batch: int
    side: int
    machine: Machine

    @property
    def methods(self) -> frozenset[str]:
        """Those that have been measured."""
        return frozenset(self.onnxruntime)

    def images_per_second(self, method: str) -> float:
        """In training."""
        return self.batch / self.training[method].seconds.median


def measure(settings: Settings, files: StudyFiles, methods: frozenset[str], bar: ProgressBar) -> Speeds:
    """Build the networks of ``methods``, the baseline among them, and time them side by side on the CPU."""
    models: dict[str, nn.Module] = {}
    for name in sorted(methods):
        bar.label(f"{name}: optimising for ONNX Runtime")
        models[name] = find_method(name).build(settings, 0).conversion.model
        if not files.graph_of(name).exists():
            write_graph(models[name], settings.input_size, files.graph_of(name), settings.threads)
    bar.label("measuring times")
    onnx = latencies_of(files.graphs, BASELINE, settings.side, settings.threads)
    with torch_threads(settings.threads):
        pytorch = compared(_passes(models, settings), BASELINE, _ROUNDS, warmup=3)
        training = compared(_steps(models, settings), BASELINE, _STEPS, warmup=1)
    return Speeds(onnx.networks, pytorch, training, _BATCH, settings.side, Machine.here(settings.threads))


def _passes(models: Mapping[str, nn.Module], settings: Settings) -> dict[str, Callable[[], Any]]:
    """A pass of each network in eval mode on one picture."""
    example = example_of(*settings.input_size)

    def run(model: nn.Module) -> None:
        with torch.inference_mode():
            model(example)

    return {name: partial(run, full_clone(model).eval()) for name, model in models.items()}


def _steps(models: Mapping[str, nn.Module], settings: Settings) -> dict[str, Callable[[], None]]:
    """A training step of each network, in the form that :func:`kswap.train` gives it on a CPU."""
    device = torch.device("cpu")
    inputs = (channels_last(example_of(*settings.input_size).repeat(_BATCH, 1, 1, 1), device),)
    return {name: training_step(_quick(in_training(model, device)), inputs) for name, model in models.items()}


def _quick(model: nn.Module) -> nn.Module:
    if any(isinstance(module, PointwiseBlock) for module in model.modules()):
        return optimize_for_training(model, autotune=False)
    return model
