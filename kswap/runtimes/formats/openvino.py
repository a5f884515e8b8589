"""OpenVINO's own format: the graph in an .xml file, the weights in a .bin file beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kswap.runtimes.formats import openvino_int8
from kswap.runtimes.formats.format import Format

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kswap.runtimes.formats.format import Run, Variant

_NO_OPERATORS = ("Constant", "Parameter", "Result")


def _write(model: nn.Module, inputs: tuple[Any, ...], path: Path, variant: Variant) -> list[str]:
    import openvino
    from openvino.passes import ConstantFolding, Manager

    from kswap.runtimes.onnx_graph import onnx_graph

    graph = onnx_graph(model, inputs, dynamic_batch=variant.dynamic_batch)
    made = openvino.Core().read_model(graph.SerializeToString())
    # ONNX keeps weights of groups flat: without folding, the file would reshape them at each load.
    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(made)
    # Only what is stored is half: a device computes in the precision that suits it.
    openvino.save_model(made, str(path), compress_to_fp16=variant.half)
    types = [node.get_type_name() for node in made.get_ordered_ops()]
    return [type_ for type_ in types if type_ not in _NO_OPERATORS]


def _read(path: Path) -> Run:
    import torch

    from kswap.runtimes.onnx import arrays_of
    from kswap.runtimes.targets.openvino import compiled

    made = compiled(str(path))

    def run(inputs: tuple[Any, ...]) -> list[Tensor]:
        found = made(arrays_of(inputs))
        return [torch.from_numpy(found[output].copy()) for output in made.outputs]

    return run


FORMAT = Format(
    "openvino",
    ".xml",
    "openvino",
    "openvino",
    _write,
    _read,
    side_suffixes=(".bin",),
    quantizer=openvino_int8.QUANTIZER,
)
