"""ONNX Runtime on the CPU."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from kswap.runtimes.targets.target import Target

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kswap.runtimes.prepared import Prepared


def session(graph: str | bytes, threads: int | None = None) -> Any:
    """An ``InferenceSession`` of ONNX Runtime on the CPU, for a file or its bytes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Threads that spin after a pass would steal time from whatever is timed next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _prepare(model: nn.Module, inputs: tuple[Any, ...], threads: int | None, quick: bool) -> Prepared:
    from kswap.runtimes.onnx import prepare_graph

    return prepare_graph(
        "ONNX Runtime", model, inputs, quick, lambda graph: partial(_prepared, session(graph, threads))
    )


def _prepared(made: Any, inputs: tuple[Any, ...]) -> Prepared:
    import onnxruntime
    import torch

    from kswap.runtimes.onnx import arrays_of
    from kswap.runtimes.prepared import Prepared

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

    return Prepared(run, outputs, partial(_prepared, made))


TARGET = Target(
    "onnxruntime",
    "cpu",
    _prepare,
    packages={"onnx": "export", "onnxscript": "export", "onnxruntime": "export"},
    fuses_across_layers=True,
)
