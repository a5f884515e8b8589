"""A study for a terminal, as Markdown and as CSV."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from kswap.report.csv_text import csv_text
from kswap.report.glyphs import Glyphs
from kswap.report.markdown import code, prose, table
from kswap.report.paragraph import print_text
from kswap.report.table import Arrangements, column, print_named_rows
from kswap.studies.cifar10.result import Cifar10Study, Row

_HEADS = (
    "network",
    "parameters",
    "accuracy",
    "H-flip",
    "left",
    "MACs",
    "lr",
    "images/s",
    "training",
    "ONNX",
    "PyTorch",
)


def render_terminal(study: Cifar10Study, console: Console) -> None:
    """A row per network; on a narrow terminal the last columns go first."""
    glyphs = Glyphs.of(console)
    names, cells = zip(*((name, rest) for name, *rest in _lines(study)), strict=True)
    columns = [
        column(head, [glyphs.clean(line[number]) for line in cells], "right") for number, head in enumerate(_HEADS[1:])
    ]
    print_named_rows(console, glyphs, "network", names, Arrangements.shrinking(console, columns, fewest=3))
    console.print()
    for remark in study.remarks():
        print_text(console, Text(glyphs.clean(remark), "dim"), f"{glyphs.bullet} ")


def render_markdown(study: Cifar10Study) -> str:
    """A GitHub table of all networks, and below it what was measured how."""
    lines = [tuple(map(prose, line)) for line in _lines(study)]
    command = f" {code(study.command)}." if study.command else ""
    remarks = f"{prose('; '.join(study.remarks()))}.{command}"
    return "\n".join([*table(_HEADS, lines, "<" + ">" * (len(_HEADS) - 1)), "", remarks, ""])


def render_csv(study: Cifar10Study) -> str:
    """A row per network; accuracies from 0 to 1, times in seconds."""
    return csv_text(_COLUMNS, [_flat(study, row) for row in study.rows])


_COLUMNS = (
    *("method", "params", "macs", "lr", "accuracy", "least", "greatest", "hflip", "seeds", "seconds", "images"),
    *("training_ratio", "onnxruntime", "onnxruntime_ratio", "pytorch", "pytorch_ratio", "note"),
)


def _lines(study: Cifar10Study) -> list[tuple[str, ...]]:
    baseline = study.baseline
    return [
        (
            row.title,
            f"{row.params:,}",
            str(row.accuracy),
            str(row.hflip),
            f"{row.params / baseline.params:.1%}" if baseline else "",
            f"{row.macs / 1e6:.1f}M",
            f"{row.lr:.3g}",
            *_times(study, row),
        )
        for row in study.rows
    ]


def _times(study: Cifar10Study, row: Row) -> tuple[str, str, str, str]:
    """Images per second in training, and three ratios to the baseline."""
    speeds = study.speeds
    if speeds is None or row.method not in speeds.methods:
        return "", "", "", ""
    sides = (speeds.training, speeds.onnxruntime, speeds.pytorch)
    training, onnx, pytorch = (f"{side[row.method].ratio:.2f}" for side in sides)
    return f"{speeds.images_per_second(row.method):.0f}", training, onnx, pytorch


def _flat(study: Cifar10Study, row: Row) -> dict[str, object]:
    speeds = study.speeds
    measured: dict[str, object] = {}
    if speeds is not None and row.method in speeds.methods:
        measured["training_ratio"] = speeds.training[row.method].ratio
        for name, side in (("onnxruntime", speeds.onnxruntime), ("pytorch", speeds.pytorch)):
            measured |= {name: side[row.method].seconds.median, f"{name}_ratio": side[row.method].ratio}
    return {
        **dict.fromkeys(_COLUMNS),
        **{name: getattr(row, name) for name in ("method", "params", "macs", "lr", "seconds", "images", "note")},
        "accuracy": row.accuracy.mean,
        "least": min(row.accuracy.values),
        "greatest": max(row.accuracy.values),
        "hflip": row.hflip.mean,
        "seeds": len(row.accuracy.values),
        **measured,
    }
