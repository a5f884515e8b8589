"""What an export format is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kswap.errors import DeployError, wording

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kswap.runtimes.formats.quantizer import Quantizer

    # Runs an exported file on positional inputs, and returns the output tensors in order.
    Run = Callable[[tuple[Any, ...]], list[Tensor]]


@dataclass(frozen=True)
class Variant:
    """How a file differs from one with fixed shapes in float32.

    Args:
        dynamic_batch: The first dimension of every input and output is free.
        half: Weights are stored in half precision (float16). Inputs and outputs stay float32.
        quantize: ``"int8"`` where weights and activations are; empty otherwise.
    """

    dynamic_batch: bool = False
    half: bool = False
    quantize: str = ""


@dataclass(frozen=True)
class Format:
    """A file format of an export.

    Args:
        name: As on the command line.
        suffix: What the name of the file ends in, with the dot.
        target: The target (of :data:`kswap.runtimes.targets.TARGETS`) that blocks are optimised for.
        package: The package that reads the file, and whose version the export reports.
        write: Writes model and inputs to a path, in a variant, and returns the type of every operator in the file.
        read: Reads the file, and returns what runs it.
        side_suffixes: The suffixes of the files written beside it.
        cannot: For each field of :class:`Variant` that the format cannot do, why, as the end of a sentence.
        quantizer: What makes an int8 file of a float32 file of this format; ``None`` where there is no such thing.
    """

    name: str
    suffix: str
    target: str
    package: str
    write: Callable[[nn.Module, tuple[Any, ...], Path, Variant], list[str]]
    read: Callable[[Path], Run]
    side_suffixes: tuple[str, ...] = ()
    cannot: Mapping[str, str] = field(default_factory=dict)
    quantizer: Quantizer | None = None

    def files(self, path: Path) -> tuple[Path, ...]:
        """Every file that an export to ``path`` writes, ``path`` last.

        >>> from kswap.runtimes.formats import FORMATS
        >>> [file.name for file in FORMATS["openvino"].files(Path("model.xml"))]
        ['model.bin', 'model.xml']
        """
        return (*(path.with_suffix(suffix) for suffix in self.side_suffixes), path)

    def check(self, variant: Variant) -> None:
        """Raise :class:`kswap.errors.DeployError` where the format cannot do what the variant asks for."""
        for name, why in self.cannot.items():
            if getattr(variant, name):
                option = wording(name, f"--{name.replace('_', '-')}")
                raise DeployError(f"{self.name} does not go with {option}: {why}")
        if variant.quantize and variant.half:
            both = wording("half and quantize", "--half and --quantize")
            raise DeployError(f"{both} both say how numbers are stored: leave one out")
        if variant.quantize and self.quantizer is None:
            raise DeployError(f"{self.name} files are not quantised here: export to onnx or openvino for int8")
        if variant.quantize and self.quantizer is not None:
            self.quantizer.check_packages()
