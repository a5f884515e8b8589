"""PyTorch's compiler on the CPU, with frozen weights: oneDNN packs them, and activations run inside convolutions."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import AbstractContextManager
from types import FunctionType
from typing import TYPE_CHECKING, Any

from kswap.runtimes.targets.target import Target

if TYPE_CHECKING:
    from torch import nn

    from kswap.runtimes.prepared import Prepared


def _settings(threads: int | None) -> AbstractContextManager[None]:
    from kswap.runtimes.prepared import torch_threads

    return torch_threads(threads)


def _obstacle() -> str | None:
    usual = {"win32": "cl", "darwin": "clang++"}.get(sys.platform, "g++")
    if shutil.which(os.environ.get("CXX") or usual) is not None:
        return None
    return "inductor needs a C++ compiler and found none: install one (or name it in CXX), or use another target"


def _prepare(model: nn.Module, inputs: tuple[Any, ...], threads: int | None, quick: bool) -> Prepared:
    """Compiled for the threads of the process. ``quick`` leaves the calls between kernels in Python, which halves the
    time to compile."""
    import torch
    import torch._inductor.config as inductor

    from kswap.runtimes.prepared import failure, silence
    from kswap.runtimes.pytorch import placed, prepared_call

    copy, moved = placed(model, inputs, TARGET.device)
    compiled = torch.compile(
        _with_own_code(copy), dynamic=False, options={"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
    )
    prepared = prepared_call(compiled, moved)
    try:
        # Tracing reads `freezing` too, so it has to hold for the process and not only as an option of the compiler.
        with silence(), inductor.patch({"freezing": True, "cpp_wrapper": not quick}):
            prepared.run()
            prepared.run()
    except Exception as error:
        raise failure("inductor", model, error, "use another target") from error
    return prepared


def _with_own_code(model: nn.Module) -> FunctionType:
    """``model`` as a function with a code object of its own.

    torch.compile caches what it compiled by code object, and stops compiling for one that it met with many models.
    Model and inputs of a prepared pass never change, so guards need not be checked before each call either.
    """

    def call(*inputs: Any) -> Any:
        return model(*inputs)

    return FunctionType(call.__code__.replace(), call.__globals__, "call", None, call.__closure__)


# Compiling one implementation takes seconds, so few are tried.
TARGET = Target(
    "inductor",
    "cpu",
    _prepare,
    _settings,
    obstacle=_obstacle,
    most_implementations=3,
    tries_estimate=False,
    no_share="its kernels go across layers",
)
