"""A program of torch.export, run by PyTorch."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kswap.runtimes.formats.format import Format

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kswap.runtimes.formats.format import Run, Variant


def _write(model: nn.Module, inputs: tuple[Any, ...], path: Path, variant: Variant) -> list[str]:
    import torch

    from kswap.runtimes.prepared import failure, silence
    from kswap.runtimes.variants import FREE_BATCH, InHalfPrecision, batch_shapes

    exported = InHalfPrecision(model) if variant.half else model
    shapes = batch_shapes(exported, inputs) if variant.dynamic_batch else None
    try:
        with silence(), torch.no_grad():
            program = torch.export.export(exported, inputs, dynamic_shapes=shapes, strict=False)
    except Exception as error:
        mend = FREE_BATCH if variant.dynamic_batch else "see torch's notes on torch.export"
        raise failure("torch.export", model, error, mend) from error
    for node in program.graph.nodes:  # long, and full of paths of this machine
        node.meta.pop("stack_trace", None)
    buffer = io.BytesIO()  # written to a full disk, torch's own writer aborts the process
    torch.export.save(program, buffer)
    path.write_bytes(buffer.getbuffer())
    return [str(node.target) for node in program.graph.nodes if node.op == "call_function"]


def _read(path: Path) -> Run:
    import torch

    from kswap.graph.call import tensors_in

    module = torch.export.load(path).module()

    def run(inputs: tuple[Any, ...]) -> list[Tensor]:
        with torch.no_grad():
            return tensors_in(module(*inputs))

    return run


FORMAT = Format("torch-export", ".pt2", "eager", "torch", _write, _read)
