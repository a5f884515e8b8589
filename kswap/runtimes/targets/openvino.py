"""OpenVINO on the CPU, in float32."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from kswap.runtimes.targets.target import Target

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kswap.runtimes.prepared import Prepared

# OpenVINO would choose bfloat16 by itself where the processor has it, and return other outputs.
_LATENCY = {"NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}


def compiled(graph: str | bytes, threads: int | None = None) -> Any:
    """A ``CompiledModel`` of OpenVINO on the CPU, for a file or its bytes; float32 throughout."""
    import openvino

    core = openvino.Core()
    settings: dict[str, Any] = dict(_LATENCY)
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    return core.compile_model(core.read_model(graph), "CPU", settings)


def _prepare(model: nn.Module, inputs: tuple[Any, ...], threads: int | None, quick: bool) -> Prepared:
    from kswap.runtimes.onnx import prepare_graph

    return prepare_graph("OpenVINO", model, inputs, quick, lambda graph: partial(_prepared, compiled(graph, threads)))


def _prepared(made: Any, inputs: tuple[Any, ...]) -> Prepared:
    import openvino
    import torch

    from kswap.runtimes.onnx import arrays_of
    from kswap.runtimes.prepared import Prepared

    request = made.create_infer_request()
    for number, array in enumerate(arrays_of(inputs)):
        request.set_input_tensor(number, openvino.Tensor(array, shared_memory=True))

    def outputs() -> list[Tensor]:
        request.infer()
        return [torch.from_numpy(tensor.data.copy()) for tensor in request.output_tensors]

    return Prepared(request.infer, outputs, partial(_prepared, made))


TARGET = Target(
    "openvino",
    "cpu",
    _prepare,
    packages={"onnx": "export", "onnxscript": "export", "openvino": "openvino"},
    fuses_across_layers=True,
)
