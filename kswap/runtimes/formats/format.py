"""What an export format is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    # Runs an exported file on positional inputs, and returns the output tensors in order.
    Run = Callable[[tuple[Any, ...]], list[Tensor]]


@dataclass(frozen=True)
class Format:
    """A file format of an export.

    Args:
        name: As on the command line.
        suffix: What the name of the file ends in, with the dot.
        target: The target (of :data:`kswap.runtimes.targets.TARGETS`) that blocks are optimised for.
        package: The package that reads the file, and whose version the export reports.
        write: Writes model and inputs to a path, and returns the type of every operator in the file.
        read: Reads the file, and returns what runs it.
        side_suffixes: The suffixes of the files written beside it.
    """

    name: str
    suffix: str
    target: str
    package: str
    write: Callable[[nn.Module, tuple[Any, ...], Path], list[str]]
    read: Callable[[Path], Run]
    side_suffixes: tuple[str, ...] = ()

    def files(self, path: Path) -> tuple[Path, ...]:
        """Every file that an export to ``path`` writes, ``path`` last.

        >>> from kswap.runtimes.formats import FORMATS
        >>> [file.name for file in FORMATS["openvino"].files(Path("model.xml"))]
        ['model.bin', 'model.xml']
        """
        return (*(path.with_suffix(suffix) for suffix in self.side_suffixes), path)
