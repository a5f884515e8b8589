"""Latencies in ONNX Runtime: all networks of a study side by side, in one process."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from kswap.inference.optimize import optimize_for_inference
from kswap.runtimes.export import export_model
from kswap.studies.transfer.subject import Subject


def write_graph(model: nn.Module, subject: Subject, path: Path) -> None:
    """Optimise ``model`` for ONNX Runtime, by measuring, and write it as a graph that takes one picture."""
    settings = subject.settings
    side = settings.latency_side
    example = torch.randn(1, subject.input_size[0], side, side, generator=torch.Generator().manual_seed(0))
    optimised = optimize_for_inference(model, example, target="onnxruntime", threads=settings.threads)
    path.parent.mkdir(parents=True, exist_ok=True)
    export_model(optimised, example, "onnx", path, force=True)
