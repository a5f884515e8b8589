"""A model as a file for other programs, read again and compared with PyTorch before it gets its name."""

from __future__ import annotations

import importlib.metadata
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from kswap.errors import DeployError
from kswap.graph.call import tensors_in
from kswap.runtimes.exported import Exported
from kswap.runtimes.formats import FORMATS
from kswap.runtimes.formats.destination import check_destination
from kswap.runtimes.prepared import in_eval_mode, relative_error

if TYPE_CHECKING:
    from kswap.runtimes.formats.format import Run

# Other kernels add in another order: 1e-7 to 1e-5 in float32, also through hundreds of layers. A wrong weight, a wrong
# order of channels or float16 somewhere gives more than this.
TOLERANCE = 1e-3

# Random inputs that are compared.
_DRAWS = 2


def export_model(
    model: nn.Module,
    inputs: Any,
    to: str,
    path: str | Path,
    force: bool = False,
    params_compact: int | None = None,
) -> Exported:
    """Write ``model`` in eval mode to a file, and check what was written; the model is unchanged.

    The file is read again, run in its own runtime on random inputs and compared with PyTorch.

    Args:
        model: A module on the CPU.
        inputs: A tensor, or a tuple of positional inputs, on the CPU; the file takes inputs of exactly these shapes.
        to: One of :data:`kswap.runtimes.formats.FORMATS`: ``"onnx"`` (``.onnx``), ``"torch-export"`` (``.pt2``) or
            ``"openvino"`` (``.xml``, with the weights in ``.bin`` beside it).
        path: The file.
        force: Overwrites files that are there.
        params_compact: The parameters of the model before it was optimised, for the result; else those of ``model``.

    Raises:
        DeployError: A package is missing, a file is in the way, the model cannot be exported, or an output differs
            by more than :data:`TOLERANCE`. Then nothing is written.
    """
    target = check_destination(to, path, force)
    given = inputs if isinstance(inputs, tuple) else (inputs,)
    ready = in_eval_mode(model)
    format_ = FORMATS[to]
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as fresh:
            written = Path(fresh) / target.name
            operators = Counter(format_.write(ready, given, written))
            largest = _largest_error(ready, format_.read(written), given)
            if not largest <= TOLERANCE:  # not a number is an error too
                raise DeployError(
                    f"{format_.package} returns other outputs than PyTorch (relative error {largest:.1e}, at most "
                    f"{TOLERANCE:.0e} is allowed): nothing was written; export to another format"
                )
            files = sorted(Path(fresh).iterdir(), key=lambda file: file.name == target.name)
            size = sum(file.stat().st_size for file in files)
            for file in files:  # the weights first: who finds the graph finds all
                os.replace(file, target.parent / file.name)
    except OSError as error:
        raise DeployError(f"{path} cannot be written: {error.strerror or error}; choose another place") from error
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
    )


def _largest_error(model: nn.Module, run: Run, inputs: tuple[Any, ...]) -> float:
    """The largest error of any output, relative to the largest number in it, over several random inputs."""
    generator = torch.Generator().manual_seed(0)
    errors = []
    for _ in range(_DRAWS):
        drawn = tree_map(lambda x: _random(x, generator), inputs)
        with torch.no_grad():
            expected = tensors_in(model(*drawn))
        errors.append(relative_error(expected, run(drawn)))
    # `max` would ignore what is not a number.
    return float(torch.tensor(errors, dtype=torch.float64).max())


def _random(value: Any, generator: torch.Generator) -> Any:
    """Normal numbers in the shape of a tensor of floats; anything else unchanged."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return torch.randn(value.shape, generator=generator, dtype=value.dtype)
    return value
