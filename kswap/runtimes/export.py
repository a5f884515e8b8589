"""A model as a file for other programs, read again and compared with PyTorch before it gets its name."""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from kswap.errors import DeployError, first_line
from kswap.graph.call import tensors_in
from kswap.runtimes.exported import Exported
from kswap.runtimes.formats import FORMATS
from kswap.runtimes.formats.destination import check_destination, written_whole
from kswap.runtimes.formats.format import Variant
from kswap.runtimes.prepared import in_eval_mode, relative_error
from kswap.runtimes.variants import FREE_BATCH, with_batch

if TYPE_CHECKING:
    from kswap.runtimes.formats.format import Run

# Other kernels add in another order: 1e-7 to 1e-5 in float32, also through hundreds of layers. A wrong weight, a wrong
# order of channels or float16 somewhere gives more than this.
TOLERANCE = 1e-3

# float16 has 11 bits: every weight and every result is rounded by up to 5e-4 of its size, and some hundred roundings
# one after the other add up to 1e-3 to 1e-2; to 3e-2 where outputs are below 1e-4, as those of an untrained network may
# be. A wrong weight or a wrong order of channels gives 1e-1 to 1, and a number above 65,504 gives infinity.
HALF_TOLERANCE = 5e-2

# Random inputs that are compared, of each shape.
_DRAWS = 2

# Where the batch is free, these are compared too; the last is the one that the file is made with.
_BATCHES = (1, 5, 2)


def export_model(
    model: nn.Module,
    inputs: Any,
    to: str,
    path: str | Path,
    force: bool = False,
    params_compact: int | None = None,
    dynamic_batch: bool = False,
    half: bool = False,
) -> Exported:
    """Write ``model`` in eval mode to a file, and check what was written; the model is unchanged.

    The file is read again, run in its own runtime on random inputs and compared with PyTorch.

    Args:
        model: A module on the CPU.
        inputs: A tensor, or a tuple of positional inputs, on the CPU; the file takes inputs of exactly these shapes,
            or with any batch where that is free.
        to: One of :data:`kswap.runtimes.formats.FORMATS`: ``"onnx"`` (``.onnx``), ``"torch-export"`` (``.pt2``),
            ``"openvino"`` (``.xml``, with the weights in ``.bin`` beside it) or ``"executorch"`` (``.pte``).
        path: The file.
        force: Overwrites files that are there.
        params_compact: The parameters of the model before it was optimised, for the result; else those of ``model``.
        dynamic_batch: The first dimension of all inputs is free in the file; several sizes of it are compared.
        half: Weights are stored in float16, half the size. Inputs and outputs stay float32.

    Raises:
        DeployError: A package is missing, a file is in the way, the format cannot do this, the model cannot be
            exported, or an output differs by more than :data:`TOLERANCE` (:data:`HALF_TOLERANCE` in half precision).
            Then nothing is written.
    """
    variant = Variant(dynamic_batch, half)
    target = check_destination(to, path, force)
    format_ = FORMATS[to]
    format_.check(variant)
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    compared = [given, *(with_batch(given, batch) for batch in _BATCHES if dynamic_batch)]
    ready = in_eval_mode(model)
    tolerance = HALF_TOLERANCE if half else TOLERANCE
    with written_whole(target) as written:
        # An example with a batch of 1 would fix it: exporters take a 1 for one that never changes.
        operators = Counter(format_.write(ready, compared[-1], written, variant))
        run = format_.read(written)
        largest = _largest([_largest_error(ready, run, inputs) for inputs in compared])
        if not largest <= tolerance:  # not a number is an error too
            mend = "export in float32" if half else "export to another format"
            raise DeployError(
                f"{format_.package} returns other outputs than PyTorch (relative error {largest:.1e}, at most "
                f"{tolerance:.0e} is allowed{' in half precision' if half else ''}): nothing was written; {mend}"
            )
        size = sum(file.stat().st_size for file in written.parent.iterdir())
    params = sum(parameter.numel() for parameter in model.parameters())
    version = importlib.metadata.version(format_.package)
    return Exported(
        path=target,
        to=to,
        bytes=size,
        params=params,
        params_compact=params if params_compact is None else params_compact,
        inputs=tuple(tuple(tensor.shape) for tensor in tensors_in(given)),
        operators=dict(operators.most_common()),
        error=largest,
        runtime=f"{format_.package} {version}",
        dynamic_batch=dynamic_batch,
        half=half,
        tolerance=tolerance,
    )


def _largest_error(model: nn.Module, run: Run, inputs: tuple[Any, ...]) -> float:
    """The largest error of any output, relative to the largest number in it, over several random inputs."""
    generator = torch.Generator().manual_seed(0)
    errors = []
    for _ in range(_DRAWS):
        drawn = tree_map(lambda x: _random(x, generator), inputs)
        try:
            with torch.no_grad():
                expected = tensors_in(model(*drawn))
            errors.append(relative_error(expected, run(drawn)))
        except DeployError:
            raise
        except Exception as error:
            batch = tensors_in(inputs)[0].shape[0]
            raise DeployError(
                f"this {type(model).__name__} or its file does not run with a batch of {batch} "
                f"({type(error).__name__}: {first_line(error)}): nothing was written; {FREE_BATCH}"
            ) from error
    return _largest(errors)


def _largest(errors: list[float]) -> float:
    """The largest; ``max`` would ignore what is not a number."""
    return float(torch.tensor(errors, dtype=torch.float64).max())


def _random(value: Any, generator: torch.Generator) -> Any:
    """Normal numbers in the shape of a tensor of floats; anything else unchanged."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return torch.randn(value.shape, generator=generator, dtype=value.dtype)
    return value
