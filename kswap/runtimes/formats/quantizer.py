"""What makes an int8 file of a float32 file of the same format."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kswap.errors import DeployError

if TYPE_CHECKING:
    from torch import Tensor

    # Runs one pass on inputs that are in place.
    Pass = Callable[[], Any]


@dataclass(frozen=True)
class Quantizer:
    """Static int8 quantisation, after training, per channel of each weight.

    Args:
        method: What does it, for reports.
        quantize: Writes the int8 file. Takes the float32 file, batches of calibration inputs of the shape that the
            file takes, the file to write, and the names of nodes to leave in float32.
        grouped: For each grouped pointwise convolution in a float32 file, its name and its channels per group.
        squeezes: The names of the nodes of squeeze-and-excite branches in a float32 file, where the method does not
            know them by itself.
        prepare: A pass of a file on inputs, for timing, with a number of threads (``None`` leaves it to the runtime).
        packages: The packages that it needs beside those of the format, each with the extra of kswap that has it.
    """

    method: str
    quantize: Callable[[Path, Sequence[Tensor], Path, Sequence[str]], None]
    grouped: Callable[[Path], dict[str, int]]
    squeezes: Callable[[Path], list[str]]
    prepare: Callable[[Path, tuple[Any, ...], int | None], Pass]
    packages: Mapping[str, str] = field(default_factory=dict)

    def check_packages(self) -> None:
        """Raises :class:`DeployError`, with what to install, when packages are missing."""
        for package, extra in self.packages.items():
            if importlib.util.find_spec(package) is None:
                raise DeployError(f"int8 in this format needs {package}: pip install 'kswap[{extra}]'")
