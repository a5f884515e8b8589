"""ONNX, run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kswap.runtimes.formats import onnx_int8
from kswap.runtimes.formats.format import Format

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kswap.runtimes.formats.format import Run, Variant


def _write(model: nn.Module, inputs: tuple[Any, ...], path: Path, variant: Variant) -> list[str]:
    from kswap.runtimes.onnx_graph import onnx_graph, operators_of

    graph = onnx_graph(model, inputs, dynamic_batch=variant.dynamic_batch, half=variant.half)
    path.write_bytes(graph.SerializeToString())
    return operators_of(graph)


def _read(path: Path) -> Run:
    import torch

    from kswap.runtimes.onnx import arrays_of
    from kswap.runtimes.targets.onnxruntime import session

    made = session(str(path))
    names = [given.name for given in made.get_inputs()]

    def run(inputs: tuple[Any, ...]) -> list[Tensor]:
        found = made.run(None, dict(zip(names, arrays_of(inputs), strict=True)))
        return [torch.from_numpy(array) for array in found]

    return run


FORMAT = Format("onnx", ".onnx", "onnxruntime", "onnxruntime", _write, _read, quantizer=onnx_int8.QUANTIZER)
