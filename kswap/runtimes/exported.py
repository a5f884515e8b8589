"""What an export wrote, as a value, and its renderers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kswap.report.markdown import code, prose, table

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        path: The file.
        to: The name of the format.
        bytes: The size of all files.
        params: The parameters of the model that was exported.
        params_compact: The parameters of the model as it was trained, before it was optimised.
        inputs: The shapes of the inputs that the file was made for.
        operators: The nodes of the graph, counted by type.
        error: The largest ``max|a - b| / max|a|`` of any output on random inputs, ``a`` by PyTorch and ``b`` by
            ``runtime`` from the file.
        runtime: Name and version of the package that ran the file.
        dynamic_batch: Whether the file takes other sizes of the first dimension of its inputs, too.
        half: Whether weights are stored in float16.
        tolerance: What ``error`` may be.
    """

    path: Path
    to: str
    bytes: int
    params: int
    params_compact: int
    inputs: tuple[tuple[int, ...], ...]
    operators: dict[str, int]
    error: float
    runtime: str
    dynamic_batch: bool
    half: bool
    tolerance: float

    def to_json(self) -> dict[str, Any]:
        """The value as JSON values."""
        return {**asdict(self), "path": str(self.path), "inputs": [list(shape) for shape in self.inputs]}


def render_terminal(exported: Exported, console: Console) -> None:
    """A line per fact."""
    for label, text in facts_of(exported).items():
        console.print(f"{label:<14} {text}", markup=False, soft_wrap=True)


def render_markdown(exported: Exported) -> str:
    """The same as a Markdown table."""
    facts = facts_of(exported) | {"file": f"{code(str(exported.path))} ({exported.bytes:,} bytes)"}
    rows = [(label, text if label == "file" else prose(text)) for label, text in facts.items()]
    return "\n".join([*table(("export", prose(exported.to)), rows, "<<"), ""])


def facts_of(exported: Exported) -> dict[str, str]:
    """What reports say, by its label."""
    params, compact = f"{exported.params:,}", f"{exported.params_compact:,}"
    if exported.params > exported.params_compact:
        params += f", grown from {compact} compact ones: fewer operators, more weights"
    elif exported.params < exported.params_compact:
        params += f", of {compact} as trained"
    return {
        "file": f"{exported.path} ({exported.bytes:,} bytes)",
        "input": ", ".join(_shape(shape, exported.dynamic_batch) for shape in exported.inputs)
        + (", N is any number" if exported.dynamic_batch else ""),
        "parameters": params,
        **({"precision": _half(exported)} if exported.half else {}),
        "operators": ", ".join(f"{count} {name}" for name, count in exported.operators.items()),
        "largest error": f"{exported.error:.1e} of the largest output, against PyTorch, run by {exported.runtime}; "
        f"up to {exported.tolerance:.0e} is allowed",
    }


def _shape(shape: tuple[int, ...], dynamic_batch: bool) -> str:
    return "x".join(["N" if dynamic_batch else str(shape[0]), *map(str, shape[1:])])


def _half(exported: Exported) -> str:
    stored = f"{2 * exported.params:,} bytes instead of {4 * exported.params:,}"
    return f"weights in float16, {stored}; inputs and outputs in float32"
