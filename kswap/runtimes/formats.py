"""The file formats of an export: how each is written, and how it is read and run again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kswap.runtimes.onnx import arrays_of, compiled, session
from kswap.runtimes.onnx_graph import onnx_graph, operators_of
from kswap.runtimes.prepared import failure, silence, tensors_in

Run = Callable[[tuple[Any, ...]], list[Tensor]]


@dataclass(frozen=True)
class Format:
    """``write`` writes the file and gives the operators in it, ``read`` gives what runs it."""

    suffix: str
    runtime: str
    write: Callable[[nn.Module, tuple[Any, ...], Path], list[str]]
    read: Callable[[Path], Run]


def _write_onnx(model: nn.Module, inputs: tuple[Any, ...], path: Path) -> list[str]:
    graph = onnx_graph(model, inputs)
    path.write_bytes(graph.SerializeToString())
    return operators_of(graph)


def _read_onnx(path: Path) -> Run:
    made = session(str(path))
    names = [given.name for given in made.get_inputs()]

    def run(inputs: tuple[Any, ...]) -> list[Tensor]:
        found = made.run(None, dict(zip(names, arrays_of(inputs), strict=True)))
        return [torch.from_numpy(array) for array in found]

    return run


def _write_openvino(model: nn.Module, inputs: tuple[Any, ...], path: Path) -> list[str]:
    import openvino
    from openvino.passes import ConstantFolding, Manager

    made = openvino.Core().read_model(onnx_graph(model, inputs).SerializeToString())
    # ONNX keeps weights of groups flat: without folding, the file would reshape them at each load.
    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(made)
    openvino.save_model(made, str(path), compress_to_fp16=False)
    kinds = [node.get_type_name() for node in made.get_ordered_ops()]
    return [kind for kind in kinds if kind not in ("Constant", "Parameter", "Result")]


def _read_openvino(path: Path) -> Run:
    made = compiled(str(path))

    def run(inputs: tuple[Any, ...]) -> list[Tensor]:
        found = made(arrays_of(inputs))
        return [torch.from_numpy(found[output].copy()) for output in made.outputs]

    return run


def _write_torch_export(model: nn.Module, inputs: tuple[Any, ...], path: Path) -> list[str]:
    try:
        with silence(), torch.no_grad():
            program = torch.export.export(model, inputs, strict=False)
    except Exception as error:
        raise failure("torch.export", model, error, "see torch's notes on torch.export") from error
    for node in program.graph.nodes:  # long, and full of paths of this machine
        node.meta.pop("stack_trace", None)
    torch.export.save(program, path)
    return [str(node.target) for node in program.graph.nodes if node.op == "call_function"]


def _read_torch_export(path: Path) -> Run:
    module = torch.export.load(path).module()

    def run(inputs: tuple[Any, ...]) -> list[Tensor]:
        with torch.no_grad():
            return tensors_in(module(*inputs))

    return run


FORMATS = {
    "onnx": Format(".onnx", "onnxruntime", _write_onnx, _read_onnx),
    "torch-export": Format(".pt2", "torch", _write_torch_export, _read_torch_export),
    "openvino": Format(".xml", "openvino", _write_openvino, _read_openvino),
}
