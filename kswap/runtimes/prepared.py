"""A forward pass that is ready to run."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from kswap.errors import DeployError, first_line
from kswap.graph.clone import full_clone


@dataclass(frozen=True)
class Prepared:
    """A forward pass on inputs that are in the runtime's own form.

    Args:
        run: Runs one pass and nothing else; outputs stay in the runtime.
        outputs: Runs one pass, and returns the output tensors on the CPU, flattened in order.
        on: Returns the same pass on other inputs of the same shapes.
    """

    run: Callable[[], Any]
    outputs: Callable[[], list[Tensor]]
    on: Callable[[tuple[Any, ...]], Prepared]


def in_turn(first: Prepared, rest: Sequence[tuple[Any, ...]]) -> Prepared:
    """One pass after the other, on the inputs of ``first`` and on ``rest``, as a single pass.

    The outputs are concatenated along their first dimension.
    """
    passes = (first, *(first.on(inputs) for inputs in rest))

    def run() -> None:
        for prepared in passes:
            prepared.run()

    def outputs() -> list[Tensor]:
        return [torch.cat(parts) for parts in zip(*(prepared.outputs() for prepared in passes), strict=True)]

    def on(inputs: tuple[Any, ...]) -> Prepared:
        own = slices_of(inputs, len(passes))
        return in_turn(first.on(own[0]), own[1:])

    return Prepared(run, outputs, on)


def slices_of(inputs: tuple[Any, ...], count: int) -> list[tuple[Any, ...]]:
    """``inputs`` in ``count`` equal parts along the first dimension of every tensor.

    >>> [x.shape[0] for x, in slices_of((torch.zeros(6, 3),), 3)]
    [2, 2, 2]
    """
    leaves, nesting = tree_flatten(inputs)
    parts = [leaf.chunk(count) if isinstance(leaf, Tensor) else (leaf,) * count for leaf in leaves]
    return [tree_unflatten(list(part), nesting) for part in zip(*parts, strict=True)]


def relative_error(wanted: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """The largest ``max|a - b| / max|a|`` of any output; infinite for other shapes, NaN where a value is NaN.

    >>> relative_error([torch.tensor([1.0, 4.0])], [torch.tensor([1.0, 3.0])])
    0.25
    """
    if [a.shape for a in wanted] != [b.shape for b in found]:
        return float("inf")
    errors = [0.0]
    for a, b in zip(wanted, found, strict=True):
        if a.numel():
            a, b = a.detach().double(), b.detach().double()
            errors.append(float((a - b).abs().max() / a.abs().max().clamp_min(torch.finfo(torch.float32).tiny)))
    # `max` would ignore what is not a number.
    return float(torch.tensor(errors, dtype=torch.float64).max())


def in_eval_mode(model: nn.Module) -> nn.Module:
    """``model``, or a copy of it in eval mode where it is not."""
    return full_clone(model).eval() if any(module.training for module in model.modules()) else model


@contextlib.contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Sets the threads of torch, which has one number per process, and restores them. ``None`` sets nothing."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """No prints, warnings or log lines of the compilers inside; for the whole process."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def failure(what: str, model: nn.Module, error: BaseException, mend: str) -> DeployError:
    """One sentence from an error of a compiler: its first line that says something."""
    said = f"{type(error).__name__}: {first_line(error)}"
    return DeployError(f"{what} cannot take this {type(model).__name__} ({said}); {mend}")
