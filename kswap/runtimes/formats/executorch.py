"""ExecuTorch's own format for phones, with the XNNPACK delegate inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kswap.runtimes.formats.format import Format

if TYPE_CHECKING:
    from torch import nn

    from kswap.runtimes.formats.format import Run, Variant


def _write(model: nn.Module, inputs: tuple[Any, ...], path: Path, variant: Variant) -> list[str]:
    from kswap.runtimes.executorch import lowered

    made = lowered(model, inputs)
    path.write_bytes(made.program)
    return list(made.operators)


def _read(path: Path) -> Run:
    from kswap.runtimes.executorch import Program

    return Program(path)


FORMAT = Format(
    "executorch",
    ".pte",
    "executorch",
    "executorch",
    _write,
    _read,
    cannot={
        "dynamic_batch": "its memory is planned for one shape; export a file for each --batch",
        "half": "its operators on CPUs are written in float32; export to another format",
    },
)
