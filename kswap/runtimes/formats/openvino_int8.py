"""int8 in OpenVINO, by NNCF's quantisation after training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kswap.runtimes.formats.quantizer import Quantizer

if TYPE_CHECKING:
    from torch import Tensor

    from kswap.runtimes.formats.quantizer import Pass


def _quantize(source: Path, calibration: Sequence[Tensor], path: Path, kept: Sequence[str]) -> None:
    import nncf
    import openvino

    from kswap.runtimes.prepared import silence

    with silence():
        made = nncf.quantize(
            openvino.Core().read_model(str(source)),
            nncf.Dataset([batch.numpy() for batch in calibration]),
            subset_size=len(calibration),
            ignored_scope=nncf.IgnoredScope(names=list(kept)) if kept else None,
        )
        openvino.save_model(made, str(path), compress_to_fp16=False)


def _grouped(path: Path) -> dict[str, int]:
    import openvino

    found = {}
    for node in openvino.Core().read_model(str(path)).get_ops():
        if node.get_type_name() == "GroupConvolution":
            _, _, width, *kernel = node.input(1).get_shape()
            if width > 1 and set(kernel) == {1}:
                found[node.get_friendly_name()] = width
    return found


def _no_squeezes(path: Path) -> list[str]:
    """None: NNCF leaves the parts of squeeze-and-excite in floats that it knows to be sensitive."""
    return []


def _prepare(path: Path, inputs: tuple[Any, ...], threads: int | None) -> Pass:
    from kswap.runtimes.onnx import arrays_of
    from kswap.runtimes.targets.openvino import compiled

    made = compiled(str(path), threads)
    arrays = arrays_of(inputs)
    return lambda: made(arrays)


QUANTIZER = Quantizer("nncf.quantize", _quantize, _grouped, _no_squeezes, _prepare, {"nncf": "nncf"})
