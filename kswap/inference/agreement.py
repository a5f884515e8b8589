"""Whether an optimised model has the outputs of its original, as far as rounding allows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from kswap.errors import DeployError, first_line
from kswap.graph.call import tensors_in
from kswap.graph.clone import full_clone
from kswap.runtimes.prepared import relative_error

# Folding rounds each weight once more. A difference of up to this many times the precision of the dtype (1e-3 in
# float32), relative to the largest output, is accepted at once. The slow tests hold the smaller models of timm to 1e-5.
_MOST_ROUNDINGS = 8192

# A larger one is accepted up to here, if the same models in float64 differ by no more than this. Rounding shrinks with
# the precision by a factor of 5e8 from float32 on, a fault does not shrink at all.
_MOST_ERROR = 0.2
_MOST_ERROR_IN_FLOAT64 = 1e-6

# From a model and its inputs to its optimised copy.
Rebuild = Callable[[nn.Module, tuple[Any, ...]], nn.Module]

_SHORTER = (torch.float32, torch.float16, torch.bfloat16)


class _InFloat64(TorchFunctionMode):
    """Casts to shorter floats, which some models have in their forward pass, become casts to float64."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.float, Tensor.half, Tensor.bfloat16):
            return args[0].double()
        named = kwargs or {}
        return func(*(_longer_dtype(x) for x in args), **{name: _longer_dtype(x) for name, x in named.items()})


def _longer_dtype(value: Any) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value in _SHORTER else value


@torch.no_grad()
def run(model: nn.Module, inputs: tuple[Any, ...]) -> list[Tensor]:
    """The output tensors of one pass. Raises :class:`kswap.errors.DeployError` where the model does not run."""
    try:
        return tensors_in(model(*inputs))
    except Exception as error:
        raise DeployError(
            f"the model does not run on the example input: {type(error).__name__}: {first_line(error)}"
        ) from error


def difference(wanted: list[Tensor], found: list[Tensor]) -> float:
    """The relative error of the floating-point outputs; infinite where the outputs have other shapes."""
    if [x.shape for x in wanted] != [x.shape for x in found]:
        return float("inf")
    pairs = [(a, b) for a, b in zip(wanted, found, strict=True) if a.is_floating_point()]
    return relative_error([a for a, _ in pairs], [b for _, b in pairs])


def checked_error(
    wanted: list[Tensor],
    quick: nn.Module,
    base: nn.Module,
    rebuilt: Rebuild,
    inputs: tuple[Any, ...],
) -> float:
    """The relative error of ``quick`` against the outputs ``wanted`` of ``base``.

    Where it is larger than folding explains, the original and a new optimised model are compared in float64: models
    with autocast inside, and ill-conditioned ones, round by much and are accepted.

    Args:
        wanted: what ``base`` returns for ``inputs``.
        quick: the optimised model.
        base: the original in eval mode.
        rebuilt: optimises another model, with its inputs, in the same way as ``base``.
        inputs: of the models.

    Raises:
        DeployError: where the outputs differ by more than rounding explains.
    """
    error = difference(wanted, run(quick, inputs))
    dtype = next((p.dtype for p in quick.parameters() if p.is_floating_point()), torch.float32)
    if error <= min(_MOST_ERROR, _MOST_ROUNDINGS * torch.finfo(dtype).eps):
        return error
    if error <= _MOST_ERROR and _error_in_float64(base, rebuilt, inputs) <= _MOST_ERROR_IN_FLOAT64:
        return error
    raise DeployError(
        f"the optimised model differs by {error:.1e} of its largest output: is every call of the model alike, "
        "with no randomness in eval mode?"
    )


def _error_in_float64(base: nn.Module, rebuilt: Rebuild, inputs: tuple[Any, ...]) -> float:
    """The relative error with all numbers in float64; infinite where the model cannot be run so."""

    def longer(value: Any) -> Any:
        return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value

    long_base, long_inputs = full_clone(base).double(), tuple(tree_map(longer, inputs))
    try:
        with _InFloat64():
            return difference(run(long_base, long_inputs), run(rebuilt(long_base, long_inputs), long_inputs))
    except DeployError:
        return float("inf")
