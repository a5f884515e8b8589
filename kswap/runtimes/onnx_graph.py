"""A model as an ONNX graph in memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import MappingKey, tree_flatten_with_path

from kswap.errors import DeployError
from kswap.runtimes.prepared import failure, in_eval_mode, silence
from kswap.runtimes.variants import FREE_BATCH, InHalfPrecision, batch_shapes

if TYPE_CHECKING:
    import onnx

# The newest that both exporters of PyTorch write.
_OPSET = 20

# The limit of protobuf, less 16 MiB for the graph itself.
_MOST_BYTES = 2**31 - 2**24


def onnx_graph(
    model: nn.Module,
    inputs: tuple[Any, ...],
    quick: bool = False,
    dynamic_batch: bool = False,
    half: bool = False,
) -> onnx.ModelProto:
    """The graph of ``model`` in eval mode for inputs of exactly these shapes, or with a free batch.

    Inputs are called ``input`` (or ``input_0``, ``input_1``, ...), outputs ``output``, ``output_0``, ... or after
    the keys of a dict. ``quick`` takes PyTorch's older exporter, which needs a hundredth of the time for a few
    layers and writes the same operators; where that fails, the usual one. ``half`` computes in float16, between inputs
    and outputs in float32. Raises :class:`DeployError`.
    """
    model = in_eval_mode(model)
    _check(model, inputs)
    exported = InHalfPrecision(model) if half else model
    names = [*_names("input", inputs[0] if len(inputs) == 1 else inputs), *_names("output", _run(model, inputs))]
    graph = _quick(exported, inputs) if quick and not dynamic_batch else None
    if graph is None:
        try:
            graph = _export(exported, inputs, batch_shapes(exported, inputs) if dynamic_batch else None)
        except Exception as error:
            mend = FREE_BATCH if dynamic_batch else "try torch-export, or the targets eager and inductor"
            raise failure("torch.onnx", model, error, mend) from error
    ends = [value.name for value in (*graph.graph.input, *graph.graph.output)]
    if len(ends) != len(names):
        raise DeployError(
            f"the ONNX graph of this {type(model).__name__} has {len(ends)} inputs and outputs instead of "
            f"{len(names)}: give the model only tensors that it uses, or take another target"
        )
    if len(set(ends)) == len(set(names)) == len(names):
        _rename_(graph.graph, dict(zip(ends, names, strict=True)))
    pool_means_(graph)
    return _cleaned(graph)


def pool_means_(graph: onnx.ModelProto) -> int:
    """Turn means over height and width into global average pooling, in place; returns how many.

    The numbers are the same. Runtimes that keep images in blocks of channels know the pooling and not the mean,
    and would reorder the image before it. Only a ``ReduceMean`` over exactly the last two dimensions of four that
    keeps them is such a mean.
    """
    constants = {tensor.name: tensor for tensor in graph.graph.initializer}
    for node in graph.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    means = [node for node in graph.graph.node if node.op_type == "ReduceMean" and _is_over_space(node, constants)]
    ranks = _ranks(graph, [node.input[0] for node in means])
    pooled = [node for node in means if ranks.get(node.input[0]) == 4]
    for node in pooled:
        node.op_type = "GlobalAveragePool"
        del node.attribute[:], node.input[1:]
    return len(pooled)


def _is_over_space(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    import onnx

    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    axes = attributes.get("axes")
    if len(node.input) > 1 and node.input[1] in constants:
        axes = onnx.numpy_helper.to_array(constants[node.input[1]]).tolist()
    return attributes.get("keepdims", 1) == 1 and sorted(axis % 4 for axis in axes or ()) == [2, 3]


def _ranks(graph: onnx.ModelProto, names: list[str]) -> dict[str, int]:
    """How many dimensions the tensors have, those of ``names`` for sure if that can be known."""
    import onnx

    def known(values: Any) -> Iterator[tuple[str, int]]:
        for value in values:
            if value.type.tensor_type.HasField("shape"):
                yield value.name, len(value.type.tensor_type.shape.dim)

    ranks = dict(known([*graph.graph.input, *graph.graph.value_info, *graph.graph.output]))
    if not set(names) <= set(ranks):
        ranks |= dict(known(onnx.shape_inference.infer_shapes(graph).graph.value_info))
    return ranks


def _cleaned(graph: onnx.ModelProto) -> onnx.ModelProto:
    """The graph without nodes and constants that no output needs, and without where each node was made.

    The latter is long, and full of paths of this machine.
    """
    import onnx_ir
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass, RemoveUnusedNodesPass

    model = onnx_ir.from_proto(graph)
    for clean in (RemoveUnusedNodesPass(), ClearMetadataAndDocStringPass()):
        clean(model)
    model.metadata_props.clear()  # the pass clears those of graphs and nodes, not those of the model and its values
    model.doc_string = None
    for node in model.graph.all_nodes():
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
        value.doc_string = None
    cleaned: onnx.ModelProto = onnx_ir.to_proto(model)
    return cleaned


def _check(model: nn.Module, inputs: tuple[Any, ...]) -> None:
    tensors = [*model.parameters(), *model.buffers()]
    small = {tensor.dtype for tensor in tensors} & {torch.float16, torch.bfloat16}
    if small:
        raise DeployError(f"the weights are {small.pop()}, and runtimes on the CPU want float32: call model.float()")
    size = sum(tensor.nbytes for tensor in tensors)
    if size > _MOST_BYTES:
        raise DeployError(
            f"the weights take {size:,} bytes, and one ONNX file holds 2 GiB: take torch-export, eager or inductor"
        )


@torch.no_grad()
def _run(model: nn.Module, inputs: tuple[Any, ...]) -> Any:
    try:
        return model(*inputs)
    except Exception as error:
        raise failure("PyTorch", model, error, "give inputs that it runs on") from error


def _rename_(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Give values other names, in place; whatever else has one of the new names gets another."""
    taken = set(names.values())

    def new(name: str) -> str:
        return names.get(name, f"{name}_inside" if name in taken else name)

    for node in graph.node:
        node.input[:] = [new(name) for name in node.input]
        node.output[:] = [new(name) for name in node.output]
        for attribute in node.attribute:
            for inner in (
                (attribute.g, *attribute.graphs) if attribute.type in (attribute.GRAPH, attribute.GRAPHS) else ()
            ):
                _rename_(inner, names)
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = new(value.name)


def _names(stem: str, value: Any) -> list[str]:
    """A name for each tensor in nested tuples, lists and dicts: its keys where it has some, else its number."""
    names = []
    for path, leaf in tree_flatten_with_path(value)[0]:
        if isinstance(leaf, Tensor):
            parts = [str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in path]
            named = bool(path) and isinstance(path[0], MappingKey)
            names.append("_".join(parts if named else [stem, *parts]))
    return names if len(set(names)) == len(names) else [f"{stem}_{number}" for number in range(len(names))]


def _export(model: nn.Module, inputs: tuple[Any, ...], shapes: Any) -> onnx.ModelProto:
    with silence(), torch.no_grad():
        program = torch.onnx.export(
            model,
            inputs,
            dynamo=True,
            verbose=False,
            opset_version=_OPSET,
            dynamic_shapes=shapes,
        )
    assert program is not None
    graph: onnx.ModelProto = program.model_proto
    return graph


def _quick(model: nn.Module, inputs: tuple[Any, ...]) -> onnx.ModelProto | None:
    """By the exporter that PyTorch is giving up; ``None`` where it is gone or fails."""
    import onnx

    written: Any = io.BytesIO()
    try:
        with silence(), torch.no_grad():
            torch.onnx.export(
                model,
                inputs,
                written,
                dynamo=False,
                opset_version=_OPSET,
            )
        return onnx.load_model_from_string(written.getvalue())
    except Exception:
        return None


def operators_of(graph: onnx.ModelProto) -> list[str]:
    """The type of every node, constants aside."""
    return [node.op_type for node in graph.graph.node if node.op_type != "Constant"]
