"""What ONNX Runtime and OpenVINO share: both read the same ONNX graph, and take arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

from kswap.graph.call import tensors_in
from kswap.runtimes.onnx_graph import onnx_graph
from kswap.runtimes.prepared import Prepared, failure

Array = np.ndarray[Any, Any]


def arrays_of(inputs: Any) -> list[Array]:
    """The tensors of the inputs, in order, as contiguous arrays."""
    return [np.ascontiguousarray(tensor.detach().cpu().numpy()) for tensor in tensors_in(inputs)]


def prepare_graph(
    runtime: str,
    model: nn.Module,
    inputs: tuple[Any, ...],
    quick: bool,
    load: Callable[[bytes], Callable[[tuple[Any, ...]], Prepared]],
) -> Prepared:
    """A pass of ``model`` in a runtime that reads ONNX, run once.

    Args:
        runtime: What messages call the runtime.
        model: Any module.
        inputs: Positional inputs.
        quick: As for :func:`kswap.runtimes.onnx_graph.onnx_graph`.
        load: Reads a serialised graph, and returns what makes a pass for inputs.

    Raises:
        DeployError: PyTorch cannot export the model, or the runtime cannot run it.
    """
    graph = onnx_graph(model, inputs, quick=quick)
    try:
        prepared = load(graph.SerializeToString())(inputs)
        prepared.run()
    except Exception as error:
        raise failure(runtime, model, error, "use another target") from error
    return prepared
