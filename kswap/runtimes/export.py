"""A model as a file for other programs, read again and compared with PyTorch before it stands there."""

from __future__ import annotations

import importlib.metadata
import os
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from kswap.errors import DeployError
from kswap.runtimes.formats import FORMATS, check_format
from kswap.runtimes.prepared import in_eval_mode, relative_error, tensors_in

if TYPE_CHECKING:
    from kswap.runtimes.formats.format import Run

# Other kernels add in another order: 1e-7 to 1e-5 in float32, also through hundreds of layers. A wrong weight, a wrong
# order of channels or float16 somewhere gives more than this.
TOLERANCE = 1e-3

# Random inputs that are compared.
_DRAWS = 2


@dataclass(frozen=True)
class Exported:
    """What was written. ``bytes`` counts all files, ``error`` is the largest ``max|a - b| / max|a|`` of any output
    on random inputs, ``a`` by PyTorch and ``b`` by ``runtime`` from the file. ``operators`` counts the nodes of the
    graph by type, ``params`` the parameters of the model that was exported."""

    path: Path
    to: str
    bytes: int
    params: int
    operators: dict[str, int]
    error: float
    runtime: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "path": str(self.path)}


def export_model(model: nn.Module, inputs: Any, to: str, path: str | Path, force: bool = False) -> Exported:
    """Write ``model`` in eval mode to ``path`` and check what was written; the model stays as it is.

    ``to`` is one of :data:`kswap.runtimes.formats.FORMATS`: ``"onnx"`` (``.onnx``), ``"torch-export"`` (``.pt2``) or
    ``"openvino"`` (``.xml``, with the weights in ``.bin`` beside it). Model and ``inputs``, a tensor or a tuple of
    positional inputs, are on the CPU; the file takes inputs of exactly these shapes. It is read again, run in its
    own runtime on random inputs and compared with PyTorch. Raises :class:`DeployError` when a package is missing,
    a file is in the way (and not ``force``), the model cannot be exported, or an output differs by more than
    :data:`TOLERANCE`; then nothing is written.
    """
    target = check_export(to, path, force)
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
                    f"{format_.package} gives other outputs than PyTorch (relative error {largest:.1e}, at most "
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
    return Exported(target, to, size, params, dict(operators.most_common()), largest, f"{format_.package} {version}")


def check_export(to: str, path: str | Path, force: bool = False) -> Path:
    """The file to write, absolute, if it can be written here. Raises :class:`DeployError`.

    >>> check_export("onyx", "model.onnx")
    Traceback (most recent call last):
    kswap.errors.DeployError: unknown format 'onyx'; did you mean onnx?
    """
    format_ = check_format(to)
    target = Path(path).expanduser().absolute()
    if target.suffix != format_.suffix:
        raise DeployError(f"{path} is no name for {to}: it must end in {format_.suffix}")
    for file in reversed(format_.files(target)):
        if file.is_dir() or (file.exists() and not force):
            raise DeployError(f"{file} exists already: choose another file, or overwrite it with --force (force=True)")
    if not target.parent.is_dir() or not os.access(target.parent, os.W_OK | os.X_OK):
        raise DeployError(f"{path} cannot be written: {target.parent} is no directory that may be written to")
    return target


def _largest_error(model: nn.Module, run: Run, inputs: tuple[Any, ...]) -> float:
    """The largest error of any output, relative to the largest number in it, over several random inputs."""
    generator = torch.Generator().manual_seed(0)
    errors = []
    for _ in range(_DRAWS):
        drawn = tree_map(lambda x: _random(x, generator), inputs)
        with torch.no_grad():
            expected = tensors_in(model(*drawn))
        errors.append(relative_error(expected, run(drawn)))
    # `max` would pass over what is not a number.
    return float(torch.tensor(errors, dtype=torch.float64).max())


def _random(value: Any, generator: torch.Generator) -> Any:
    """Normal numbers in the shape of a tensor of floats; all else as it was given."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return torch.randn(value.shape, generator=generator, dtype=value.dtype)
    return value
