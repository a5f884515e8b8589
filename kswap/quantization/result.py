"""What an export in int8 wrote and measured, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kswap.codec import encode
from kswap.data.preprocessing import Preprocessing
from kswap.runtimes.exported import Exported
from kswap.timing import TimeComparison


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy from 0 to 1 on the same pictures, of the float32 file and of the int8 file."""

    pictures: str
    images: int
    float32: float
    int8: float


@dataclass(frozen=True)
class KeptInFloat:
    """The squeeze-and-excite branches where float32 was measured to matter; errors are as in :class:`QuantizedExport`.

    ``nodes`` is how many nodes of the graph they are.
    """

    nodes: int
    error_quantized: float
    error_kept: float


@dataclass(frozen=True)
class Speed:
    """Times of other files divided by that of the int8 file, all in one process and in changing order.

    Args:
        original: The int8 file of the original network; ``None`` where it cannot be had.
        no_original: Why not.
        float32: The float32 file of the same network.
        grouped: Channels per group of each grouped pointwise convolution in the file.
        groups_in_float32: The same network with these convolutions in float32; ``None`` where it has none.
    """

    original: TimeComparison | None
    no_original: str
    float32: TimeComparison
    grouped: tuple[int, ...]
    groups_in_float32: TimeComparison | None


@dataclass(frozen=True)
class QuantizedExport:
    """What was written.

    Args:
        exported: The float32 file that it was made of, under the name of the int8 file.
        bytes: The size of all int8 files.
        method: What quantised it.
        calibration: The pictures of the calibration.
        calibration_images: How many of them.
        preprocessing: How they were prepared, as those that accuracy was measured on.
        error: Mean square of the difference between the outputs of both files, over the mean square of the outputs, on
            the pictures of the calibration.
        agreement: The share of these pictures for which both files have the same largest output.
        kept: What was left in float32 since it was measured to matter.
        accuracy: ``None`` where there were no labels.
        speed: Compared with other files.
    """

    exported: Exported
    bytes: int
    method: str
    calibration: str
    calibration_images: int
    preprocessing: Preprocessing
    error: float
    agreement: float
    kept: KeptInFloat | None
    accuracy: Accuracy | None
    speed: Speed

    def to_json(self) -> dict[str, Any]:
        """The value as JSON values: that of the export, with the sizes of both files and what was measured."""
        measured = ("method", "calibration", "calibration_images", "error", "agreement", "kept", "accuracy", "speed")
        return {
            **self.exported.to_json(),
            "bytes": self.bytes,
            "quantization": {
                "bytes_float32": self.exported.bytes,
                "preprocessing": self.preprocessing.to_json(),
                **{name: encode(getattr(self, name)) for name in measured},
            },
        }
