"""What the export to ExecuTorch and the target share: a lowered program, and passes of it.

Operators run in XNNPACK, the delegate for the CPUs of phones and computers; what it does not take runs in ExecuTorch's
own portable kernels, which are slow.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import operator
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from kswap.errors import DeployError, first_line
from kswap.graph.call import tensors_in
from kswap.runtimes.prepared import Prepared, failure, in_eval_mode, silence

if TYPE_CHECKING:
    from types import ModuleType

_STDERR = 2


@dataclass(frozen=True)
class Lowered:
    """A program of ExecuTorch: the bytes of its file, and the type of every operator, also inside the delegate."""

    program: bytes
    operators: tuple[str, ...]


def lowered(model: nn.Module, inputs: tuple[Any, ...]) -> Lowered:
    """``model`` in eval mode as a program for inputs of exactly these shapes.

    Raises :class:`kswap.errors.DeployError` where the model cannot be lowered.
    """
    try:
        with _quiet(), torch.no_grad():
            _runtime()
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

            program = torch.export.export(in_eval_mode(model), inputs, strict=False)
            edge = to_edge_transform_and_lower(
                program, partitioner=[XnnpackPartitioner()], compile_config=EdgeCompileConfig(_check_ir_validity=False)
            )
            operators = tuple(_operators(edge.exported_program().graph_module))
            return Lowered(edge.to_executorch().buffer, operators)
    except Exception as error:
        raise failure("ExecuTorch", model, error, "use another format or target") from error


def prepared_program(model: nn.Module, inputs: tuple[Any, ...]) -> Prepared:
    """A pass of ``model``, run once. Raises :class:`kswap.errors.DeployError`."""
    prepared = _prepared(Program(lowered(model, inputs).program), inputs)
    with _quiet():
        prepared.run()
    return prepared


class Program:
    """A program that is loaded, to be called with positional inputs; returns the output tensors in order.

    XNNPACK keeps the pool of threads that a program was loaded with, and that pool is gone once another number of
    threads is set. The program is then loaded again.

    Raises :class:`kswap.errors.DeployError` where the installed ExecuTorch cannot run it.
    """

    def __init__(self, source: bytes | Path) -> None:
        self._source = source
        self._load()

    def _load(self) -> None:
        _runtime()
        from executorch.runtime import Runtime

        with _quiet(), _one_sentence():
            self._method = Runtime.get().load_program(self._source).load_method("forward")
        self._pool = _POOL.number

    def __call__(self, inputs: tuple[Any, ...]) -> list[Tensor]:
        return self.outputs_of(leaves_of(inputs))

    def outputs_of(self, leaves: list[Any]) -> list[Tensor]:
        """The same for inputs that are flat already."""
        if self._pool != _POOL.number:
            self._load()
        with _one_sentence():
            return tensors_in(self._method.execute(leaves))


def leaves_of(inputs: tuple[Any, ...]) -> list[Any]:
    """The inputs in order, tensors as contiguous ones on the CPU: programs are lowered for that memory format."""
    return [leaf.detach().cpu().contiguous() if isinstance(leaf, Tensor) else leaf for leaf in tree_leaves(inputs)]


@contextlib.contextmanager
def _one_sentence() -> Iterator[None]:
    """Errors of the C++ code, which are about a tensor without a device and the like, become :class:`DeployError`."""
    try:
        yield
    except RuntimeError as error:
        raise DeployError(
            f"ExecuTorch cannot run this model ({first_line(error)}): it lacks an operator, or was built for another "
            "version of torch (executorch 1.2 goes with torch 2.11, 1.3 with 2.12, 1.4 with 2.13, 1.5 with 2.14 and "
            "2.15)"
        ) from error


def _prepared(program: Program, inputs: tuple[Any, ...]) -> Prepared:
    leaves = leaves_of(inputs)

    def run() -> list[Tensor]:
        return program.outputs_of(leaves)

    return Prepared(run, run, lambda other: _prepared(program, other))


@dataclass
class _Pool:
    """Which pool of threads the process has by now: ExecuTorch replaces it when the number of threads changes."""

    number: int = 0

    def set_threads_(self, count: int) -> None:
        runtime = _runtime()
        if count != runtime._threadpool_get_thread_count():
            with _quiet():
                runtime._unsafe_reset_threadpool(count)
            self.number += 1


_POOL = _Pool()


@contextlib.contextmanager
def threads_of_pool(count: int | None) -> Iterator[None]:
    """Sets the threads of ExecuTorch, which has one number per process, and restores them. ``None`` sets nothing."""
    if count is None:
        yield
        return
    before = _runtime()._threadpool_get_thread_count()
    _POOL.set_threads_(count)
    try:
        yield
    finally:
        _POOL.set_threads_(before)


@functools.cache
def _runtime() -> ModuleType:
    """ExecuTorch's Python bindings."""
    with _quiet():
        import executorch.backends.xnnpack.partition.xnnpack_partitioner  # noqa: F401
        import executorch.extension.pybindings.portable_lib as bindings

        bindings._threadpool_get_thread_count()  # reads what processor this is, and says so
    found: ModuleType = bindings
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """As :func:`silence`, also for what C++ code writes to the standard error.

    ExecuTorch sets up the logging of the whole process, which is undone.
    """
    handlers = list(logging.root.handlers)
    sys.stderr.flush()
    kept = os.dup(_STDERR)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        with silence():
            os.dup2(nowhere, _STDERR)
            yield
    finally:
        logging.root.handlers[:] = handlers
        os.dup2(kept, _STDERR)
        os.close(kept)
        os.close(nowhere)


def _operators(graph: torch.fx.GraphModule) -> Iterator[str]:
    """The type of each operator that XNNPACK runs, and of each that it does not, which the name then says."""
    from executorch.exir.lowered_backend_module import get_lowered_submodules

    delegated = {node: module for _, module, node in get_lowered_submodules(graph)}
    for node in graph.graph.nodes:
        if node in delegated:
            inside = delegated[node].original_module.graph_module
            yield from (_name(one) for one in inside.graph.nodes if _is_operator(one))
        elif _is_operator(node):
            yield f"{_name(node)} (not delegated)"


def _is_operator(node: torch.fx.Node) -> bool:
    return node.op == "call_function" and node.target is not operator.getitem


def _name(node: torch.fx.Node) -> str:
    return str(getattr(node.target, "__name__", node.target))
