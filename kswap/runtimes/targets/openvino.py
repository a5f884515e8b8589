"""OpenVINO on the CPU, in float32."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from kswap.runtimes.targets.target import Target

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kswap.runtimes.prepared import Prepared

# OpenVINO would choose bfloat16 by itself where the processor has it, and return other outputs.
_LATENCY = {"NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}


def compiled(graph: str | bytes, threads: int | None = None, profile: bool = False) -> Any:
    """A ``CompiledModel`` of OpenVINO on the CPU, for a file or its bytes; float32 throughout.

    With ``profile`` its requests say how long each operator took.
    """
    import openvino

    core = openvino.Core()
    settings: dict[str, Any] = _LATENCY | ({"PERF_COUNT": True} if profile else {})
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


def _share_of(model: nn.Module, inputs: tuple[Any, ...], names: Sequence[str], threads: int | None) -> float:
    from kswap.runtimes.onnx import arrays_of
    from kswap.runtimes.onnx_graph import onnx_graph
    from kswap.runtimes.onnx_marks import mark_
    from kswap.runtimes.shares import repeated, share_of_marked

    graph = onnx_graph(model, inputs, quick=True)
    marks = mark_(graph, names)
    made = compiled(graph.SerializeToString(), threads, profile=True)
    # What an operator was fused from; its own name may be that of any part.
    parts = {
        operator.get_friendly_name(): str(operator.get_rt_info()["originalLayersNames"].value)
        for operator in made.get_runtime_model().get_ordered_ops()
        if "originalLayersNames" in operator.get_rt_info()
    }
    request = made.create_infer_request()
    given = arrays_of(inputs)
    times: dict[str, list[float]] = {}

    def run() -> None:
        request.infer(given)
        for one in request.profiling_info:
            name = f"{one.node_name}: {parts.get(one.node_name, '')}"
            times.setdefault(name, []).append(one.real_time.total_seconds())

    repeated(run)
    return share_of_marked(times, marks, "OpenVINO")


TARGET = Target(
    "openvino",
    "cpu",
    _prepare,
    packages={"onnx": "export", "onnxscript": "export", "openvino": "openvino"},
    fuses_across_layers=True,
    share_of=_share_of,
)
