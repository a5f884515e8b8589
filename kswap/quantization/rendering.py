"""An export in int8 for the terminal and as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kswap.quantization.result import QuantizedExport, Speed
from kswap.report.markdown import code, prose, table
from kswap.runtimes.exported import facts_of
from kswap.timing import TimeComparison

if TYPE_CHECKING:
    from rich.console import Console


def render_terminal(done: QuantizedExport, console: Console) -> None:
    """A line per fact."""
    for label, text in _facts(done).items():
        console.print(f"{label:<14} {text}", markup=False, soft_wrap=True)


def render_markdown(done: QuantizedExport) -> str:
    """The same as a Markdown table."""
    facts = _facts(done) | {"file": f"{code(str(done.exported.path))} ({done.bytes:,} bytes)"}
    rows = [(label, text if label == "file" else prose(text)) for label, text in facts.items()]
    return "\n".join([*table(("export", prose(f"{done.exported.to}, int8")), rows, "<<"), ""])


def _facts(done: QuantizedExport) -> dict[str, str]:
    before = facts_of(done.exported)
    facts = {
        "file": f"{done.exported.path} ({done.bytes:,} bytes)",
        "input": before["input"],
        "parameters": before["parameters"],
        "int8": f"{done.bytes / done.exported.bytes:.0%} of the {done.exported.bytes:,} bytes in float32; "
        f"{done.method}, per channel, calibrated on {done.calibration_images:,} pictures of {done.calibration}",
        "answers": f"{done.agreement:.1%} of these pictures get the same one as in float32; mean squared error of the "
        f"outputs {done.error:.1e} of their mean square",
    }
    if done.kept is not None:
        facts["kept in float"] = (
            f"squeeze-and-excite, {done.kept.nodes} nodes: quantised, the error is {done.kept.error_quantized:.1e} "
            f"instead of {done.kept.error_kept:.1e}"
        )
    if done.accuracy is None:
        facts["accuracy"] = "not measured: the pictures have no labels of this model; pass --eval-data"
    else:
        facts["accuracy"] = (
            f"{done.accuracy.float32:.2%} in float32, {done.accuracy.int8:.2%} in int8, on {done.accuracy.images:,} "
            f"pictures of {done.accuracy.pictures}"
        )
    return facts | _speeds(done.speed)


def _speeds(speed: Speed) -> dict[str, str]:
    facts = {
        "original": f"not timed: {speed.no_original}"
        if speed.original is None
        else f"its int8 export takes {_ratio(speed.original)}",
        "float32": f"the same network in float32 takes {_ratio(speed.float32)}",
    }
    if speed.groups_in_float32 is not None:
        widths = sorted(set(speed.grouped))
        between = f"{widths[0]} to {widths[-1]}" if len(widths) > 1 else f"{widths[0]}"
        said = {
            "slower": "small groups make int8 slower here",
            "faster": "int8 is faster in them too",
        }.get(speed.groups_in_float32.verdict, "they make int8 neither slower nor faster")
        facts["small groups"] = (
            f"{len(speed.grouped)} pointwise convolutions have {between} channels per group; with these in float32 "
            f"the file takes {_ratio(speed.groups_in_float32)}: {said}"
        )
    return facts


def _ratio(found: TimeComparison) -> str:
    between = "" if found.low is None else f" ({found.low:.2f} to {found.high:.2f})"
    verdict = {"faster": "int8 is faster", "slower": "int8 is slower"}.get(found.verdict, found.verdict)
    return f"{found.ratio:.2f}{between} times the time, {verdict}"
