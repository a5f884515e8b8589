"""int8 in ONNX, by ONNX Runtime's static quantisation: pairs of QuantizeLinear and DequantizeLinear (QDQ)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kswap.runtimes.formats.quantizer import Quantizer

if TYPE_CHECKING:
    from torch import Tensor

    from kswap.runtimes.formats.quantizer import Pass


def _quantize(source: Path, calibration: Sequence[Tensor], path: Path, kept: Sequence[str]) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    from kswap.runtimes.prepared import silence
    from kswap.runtimes.targets.onnxruntime import session

    (given,) = session(str(source)).get_inputs()

    class Batches(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(calibration)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self._left, None)
            return None if batch is None else {given.name: batch.numpy()}

    with silence():
        quantize_static(
            str(source),
            str(path),
            Batches(),
            per_channel=True,
            # What ONNX Runtime's guide names for x86; in its kernels there twice as quick as signed activations.
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=list(kept),
        )


def _grouped(path: Path) -> dict[str, int]:
    import onnx

    graph = onnx.load(path).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    found = {}
    for node in graph.node:
        if node.op_type == "Conv":
            groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
            _, width, *kernel = shapes.get(node.input[1], (0, 0))
            if groups > 1 and width > 1 and set(kernel) == {1}:
                found[node.name] = width
    return found


def _squeezes(path: Path) -> list[str]:
    import onnx

    graph = onnx.load(path).graph
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    found: list[str] = []
    for pool in graph.node:
        if pool.op_type != "GlobalAveragePool":
            continue
        names, values, is_gate = [pool.name], set(pool.output), False
        for node in graph.node:  # in the order in which they are computed
            inside = [name in values for name in node.input if name and name not in constants]
            if inside and all(inside):
                names.append(node.name)
                values.update(node.output)
            elif any(inside) and node.op_type == "Mul":
                is_gate = True
        if is_gate:  # without a product at its end it is the head
            found += names
    return found


def _prepare(path: Path, inputs: tuple[Any, ...], threads: int | None) -> Pass:
    from kswap.runtimes.onnx import arrays_of
    from kswap.runtimes.targets.onnxruntime import session

    made = session(str(path), threads)
    given = {value.name: array for value, array in zip(made.get_inputs(), arrays_of(inputs), strict=True)}
    return lambda: made.run(None, given)


QUANTIZER = Quantizer("onnxruntime.quantization.quantize_static", _quantize, _grouped, _squeezes, _prepare)
