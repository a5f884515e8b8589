"""Names in an ONNX graph by which the layers of a model can be found in what a runtime makes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kswap.errors import DeployError

if TYPE_CHECKING:
    import onnx

# What runtimes fuse into the layer before: the operator may then be named after what this returns.
_FUSED = ("Relu", "LeakyRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh")


def mark_(graph: onnx.ModelProto, names: Sequence[str]) -> list[str]:
    """Rename the nodes of layers and what they return, in place; returns the marks, one for each layer.

    Runtimes name an operator after the node or after what it returns, also where they fuse the activation into it or
    change its layout; an activation that they leave alone has no mark. A layer is found by its weight. Raises
    :class:`DeployError` where one has no node.
    """
    marks = {f"{name}.weight": f"replaced_layer_{number}_" for number, name in enumerate(names)}
    users = Counter(value for node in graph.graph.node for value in node.input)
    renamed: dict[str, str] = {}
    found: set[str] = set()
    for node in graph.graph.node:
        mark = next((marks[value] for value in node.input if value in marks), None)
        before = node.input[0] if node.input else ""
        if mark is not None:
            node.name = mark
            found.add(mark)
        elif node.op_type in _FUSED and users[before] == 1 and renamed.get(before) in found:
            mark = f"{renamed[before]}activation"
        node.input[:] = [renamed.get(value, value) for value in node.input]
        if mark is not None:
            renamed[node.output[0]] = mark
            node.output[0] = mark
    for value in graph.graph.output:
        value.name = renamed.get(value.name, value.name)
    if len(found) < len(marks):
        raise DeployError(
            f"{len(marks) - len(found)} of {len(marks)} replaced layers have no node of their own in the graph"
        )
    return list(marks.values())
