"""ONNX Runtime and OpenVINO: both read the same ONNX graph."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kswap.runtimes.onnx_graph import onnx_graph
from kswap.runtimes.prepared import Prepared, failure, tensors_in

Array = np.ndarray[Any, Any]

# OpenVINO would choose bfloat16 by itself where the processor has it, and give other outputs.
_LATENCY = {"NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}


def arrays_of(inputs: Any) -> list[Array]:
    """The tensors of the inputs, in order, as arrays that lie as ONNX wants them."""
    return [np.ascontiguousarray(tensor.detach().cpu().numpy()) for tensor in tensors_in(inputs)]


def session(graph: str | bytes, threads: int | None = None) -> Any:
    """An ``InferenceSession`` of ONNX Runtime on the CPU, for a file or the bytes of one."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Threads that spin after a pass would steal time from whatever is measured next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def compiled(graph: str | bytes, threads: int | None = None) -> Any:
    """A ``CompiledModel`` of OpenVINO on the CPU, for a file or the bytes of one; float32 throughout."""
    import openvino

    core = openvino.Core()
    settings: dict[str, Any] = dict(_LATENCY)
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    return core.compile_model(core.read_model(graph), "CPU", settings)


def prepare_onnxruntime(model: nn.Module, inputs: tuple[Any, ...], threads: int | None, quick: bool) -> Prepared:
    """In ONNX Runtime on the CPU. ``quick`` as for :func:`kswap.runtimes.onnx_graph.onnx_graph`."""
    graph = onnx_graph(model, inputs, quick=quick)
    try:
        prepared = _bound(session(graph.SerializeToString(), threads), inputs)
        prepared.run()
    except Exception as error:
        raise failure("ONNX Runtime", model, error, "take another target") from error
    return prepared


def _bound(made: Any, inputs: tuple[Any, ...]) -> Prepared:
    import onnxruntime

    binding = made.io_binding()
    for given, array in zip(made.get_inputs(), arrays_of(inputs), strict=True):
        binding.bind_ortvalue_input(given.name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
    for output in made.get_outputs():
        binding.bind_output(output.name)

    def run() -> None:
        made.run_with_iobinding(binding)

    def outputs() -> list[Tensor]:
        run()
        return [torch.from_numpy(array) for array in binding.copy_outputs_to_cpu()]

    return Prepared(run, outputs, partial(_bound, made))


def prepare_openvino(model: nn.Module, inputs: tuple[Any, ...], threads: int | None, quick: bool) -> Prepared:
    """In OpenVINO on the CPU. ``quick`` as for :func:`kswap.runtimes.onnx_graph.onnx_graph`."""
    graph = onnx_graph(model, inputs, quick=quick)
    try:
        prepared = _requested(compiled(graph.SerializeToString(), threads), inputs)
        prepared.run()
    except Exception as error:
        raise failure("OpenVINO", model, error, "take another target") from error
    return prepared


def _requested(made: Any, inputs: tuple[Any, ...]) -> Prepared:
    request = made.create_infer_request()
    _give(request, arrays_of(inputs))

    def outputs() -> list[Tensor]:
        request.infer()
        return [torch.from_numpy(tensor.data.copy()) for tensor in request.output_tensors]

    run: Callable[[], Any] = request.infer
    return Prepared(run, outputs, partial(_requested, made))


def _give(request: Any, arrays: list[Array]) -> None:
    import openvino

    for number, array in enumerate(arrays):
        request.set_input_tensor(number, openvino.Tensor(array, shared_memory=True))
