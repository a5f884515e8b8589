"""How much memory a model takes while it runs, measured in a process that does nothing else."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from kswap.benchmarks.model_pair import BenchmarkedModel, ModelPair
from kswap.benchmarks.worker import call_in_process
from kswap.codec import decode, encode
from kswap.conversion import convert
from kswap.errors import DeployError
from kswap.inference.optimize import optimize_for_inference
from kswap.malloc import releasing_memory
from kswap.runtimes.targets import find_target, prepare

Side = Literal["original", "rewritten"]

_PASSES = 3
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class MemoryRequest:
    """What the fresh process of :func:`peak_memory` measures; ``implementations`` are those of the blocks, by name."""

    model: BenchmarkedModel
    side: Side
    batch: int
    target: str
    threads: int | None
    implementations: Mapping[str, str]


def peak_memory(request: MemoryRequest) -> int:
    """Bytes that one side takes at most during 3 passes, above what its process held before the model was built.

    The model is optimised for the target first, with the implementations that it was timed with. Weights count, and
    buffers between layers, and what the runtime keeps; what building and optimising took for a while does not. On a
    GPU it is the GPU's memory. Raises :class:`DeployError` where it cannot be measured.
    """
    if not isinstance(request.model.model, str):
        raise DeployError("a module cannot be built again in another process: give its name or a saved directory")
    return int(call_in_process(answer, encode(request), releasing_memory(os.environ), quiet=True))


def answer(asked: Mapping[str, Any]) -> int:
    """What the fresh process of :func:`peak_memory` does."""
    request = decode(MemoryRequest, asked, "the request for the peak of memory", DeployError)
    target = request.target
    _warm_up(target)
    before = _held(target)
    model, inputs = _built(request)
    prepared = prepare(model, inputs, target, request.threads)
    del model
    _forget_peak()
    with find_target(target).settings(request.threads):
        for _ in range(_PASSES):
            prepared.run()
    return max(_peak(target) - before, 0)


def _built(request: MemoryRequest) -> tuple[nn.Module, tuple[Any, ...]]:
    pair = ModelPair.of(request.model)
    inputs = pair.inputs(request.batch)
    model = pair.original if request.side == "original" else pair.converted
    quick = optimize_for_inference(
        model,
        inputs,
        request.target,
        autotune=False,
        threads=request.threads,
        implementations=request.implementations,
    )
    return quick, inputs


def _warm_up(target: str) -> None:
    """Take something small all the way first: libraries that are loaded on it are nothing of the model's."""
    import timm  # noqa: F401
    import torchvision  # noqa: F401

    inputs = (torch.zeros(1, 64, 4, 4),)
    model = nn.Sequential(nn.Conv2d(64, 64, 1, bias=False), nn.BatchNorm2d(64), nn.Conv2d(64, 64, 1))
    small = convert(model, example_input=inputs, device="cpu", seed=0).model.eval()
    prepare(optimize_for_inference(small, inputs, target, autotune=False), inputs, target).run()


def _forget_peak() -> None:
    """Give free memory back, and let the peak of this process begin here, where the system can do that."""
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        with contextlib.suppress(OSError):
            _CLEAR.write_text("5")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _held(target: str) -> int:
    """Bytes that are held now."""
    _forget_peak()
    return torch.cuda.memory_allocated() if find_target(target).device == "cuda" else _status("VmRSS")


def _peak(target: str) -> int:
    return torch.cuda.max_memory_allocated() if find_target(target).device == "cuda" else _status("VmHWM")


def _status(key: str) -> int:
    """Bytes of resident memory: ``VmRSS`` now, ``VmHWM`` at most.

    Not from ``getrusage`` where there is another way: after a fork, its peak is at least that of the parent.
    """
    if _STATUS.is_file():
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
