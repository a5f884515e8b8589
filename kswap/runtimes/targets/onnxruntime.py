"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kswap.runtimes.targets.target import Target

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kswap.runtimes.prepared import Prepared


def session(graph: str | bytes, threads: int | None = None, profile: str | None = None) -> Any:
    """An ``InferenceSession`` of ONNX Runtime on the CPU, for a file or its bytes.

    With ``profile`` it notes how long each operator took, in a file whose name begins with that, which
    ``end_profiling`` writes.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Threads that spin after a pass would steal time from whatever is timed next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile
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


def _share_of(model: nn.Module, inputs: tuple[Any, ...], names: Sequence[str], threads: int | None) -> float:
    import json
    import tempfile

    from kswap.runtimes.onnx_graph import onnx_graph
    from kswap.runtimes.onnx_marks import mark_
    from kswap.runtimes.shares import repeated, share_of_marked

    graph = onnx_graph(model, inputs, quick=True)
    marks = mark_(graph, names)
    with tempfile.TemporaryDirectory(prefix="kswap-") as directory:
        made = session(graph.SerializeToString(), threads, f"{directory}/profile")
        repeated(_prepared(made, inputs).run)
        events = json.loads(Path(made.end_profiling()).read_text(encoding="utf-8"))
    times: dict[str, list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            times.setdefault(event["name"], []).append(event["dur"])
    return share_of_marked(times, marks, "ONNX Runtime")


TARGET = Target(
    "onnxruntime",
    "cpu",
    _prepare,
    packages={"onnx": "export", "onnxscript": "export", "onnxruntime": "export"},
    fuses_across_layers=True,
    share_of=_share_of,
)
