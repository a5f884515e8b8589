"""Where a model can run, and how it is made ready there."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from typing import Any

import torch
from torch import nn

from kswap.errors import DeployError, nearest
from kswap.runtimes.onnx import prepare_onnxruntime, prepare_openvino
from kswap.runtimes.prepared import Prepared, in_turn, slices_of
from kswap.runtimes.pytorch import prepare_cuda, prepare_eager, prepare_inductor

_PREPARE = {
    "eager": prepare_eager,
    "inductor": prepare_inductor,
    "onnxruntime": prepare_onnxruntime,
    "openvino": prepare_openvino,
    "cuda": prepare_cuda,
}

TARGETS = tuple(_PREPARE)

# The packages that a target or a format needs, each with the extra that brings it.
_PACKAGES = {
    "onnxruntime": {"onnx": "export", "onnxscript": "export", "onnxruntime": "export"},
    "openvino": {"onnx": "export", "onnxscript": "export", "openvino": "openvino"},
}


def check_packages(target: str) -> None:
    """Raises :class:`DeployError`, with what to install, when packages for ``target`` are missing."""
    needed = _PACKAGES.get(target, {})
    missing = [package for package in needed if importlib.util.find_spec(package) is None]
    if missing:
        extras = ",".join(sorted({needed[package] for package in missing}))
        raise DeployError(f"{target} needs {', '.join(missing)}: pip install 'kswap[{extras}]'")


def check_target(target: str) -> None:
    """Raises :class:`DeployError` when ``target`` is none of :data:`TARGETS` or cannot run here.

    >>> check_target("onnx-runtime")
    Traceback (most recent call last):
    kswap.errors.DeployError: unknown target 'onnx-runtime'; did you mean onnxruntime?
    """
    if target not in TARGETS:
        hint = nearest(target, TARGETS) or f": take one of {', '.join(TARGETS)}"
        raise DeployError(f"unknown target '{target}'{hint}")
    check_packages(target)
    if target == "cuda" and not torch.cuda.is_available():
        raise DeployError("there is no CUDA device here: take another target, such as eager")
    if target == "inductor" and not _has_compiler():
        raise DeployError(
            "inductor needs a C++ compiler, and none was found: install one (or name it in CXX), or take another target"
        )


def prepare(
    model: nn.Module,
    inputs: tuple[Any, ...],
    target: str,
    threads: int | None = None,
    quick: bool = False,
    slices: int = 1,
) -> Prepared:
    """A forward pass of ``model`` in eval mode on ``inputs`` in ``target``; the model itself stays as it is.

    ``threads`` are those of one operator; without it the runtime decides. PyTorch has one number for the
    process: ``eager`` and ``inductor`` set it here, once, and inductor compiles it in. ``quick`` makes the pass
    ready sooner, with the same operators, for the many small models that are measured and thrown away. With
    ``slices`` the batch is run in so many equal parts, one after the other: activations may stay in cache. Raises
    :class:`DeployError` as :func:`check_target` does, and where the runtime cannot take the model.

    >>> ready = prepare(nn.Conv2d(3, 8, 1), (torch.zeros(1, 3, 4, 4),), "eager")
    >>> [tuple(output.shape) for output in ready.outputs()]
    [(1, 8, 4, 4)]
    """
    check_target(target)
    first, *rest = slices_of(inputs, slices)
    prepared = _PREPARE[target](model, first, threads, quick)
    return in_turn(prepared, rest) if rest else prepared


def _has_compiler() -> bool:
    usual = {"win32": "cl", "darwin": "clang++"}.get(sys.platform, "g++")
    return shutil.which(os.environ.get("CXX") or usual) is not None
