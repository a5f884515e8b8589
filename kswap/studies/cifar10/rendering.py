"""A study for a terminal, as Markdown and as CSV."""

from __future__ import annotations

from rich.console import Console

from kswap.report.csv_text import csv_text
from kswap.studies.cifar10.result import Cifar10Study, Row
from kswap.studies.rendering import print_study, study_markdown

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
    print_study(console, _HEADS, _lines(study), study.remarks())


def render_markdown(study: Cifar10Study) -> str:
    """A GitHub table of all networks, and below it what was measured how."""
    return study_markdown(_HEADS, _lines(study), study.remarks(), study.command)


def render_csv(study: Cifar10Study) -> str:
    """A row per network; accuracies from 0 to 1, times in seconds."""
    return csv_text(_COLUMNS, [_flat(study, row) for row in study.rows])


_OF_ROW = ("method", "params", "macs", "lr", "structured_lr", "seconds", "images", "note")
_COLUMNS = (
    *(
        "method",
        "params",
        "macs",
        "lr",
        "structured_lr",
        "accuracy",
        "least",
        "greatest",
        "hflip",
        "seeds",
        "seconds",
        "images",
    ),
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
            f"{row.lr:.3g}" + ("" if row.structured_lr == 1 else f" ({row.lr * row.structured_lr:.3g} in blocks)"),
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
        **{name: getattr(row, name) for name in _OF_ROW},
        "accuracy": row.accuracy.mean,
        "least": min(row.accuracy.values),
        "greatest": max(row.accuracy.values),
        "hflip": row.hflip.mean,
        "seeds": len(row.accuracy.values),
        **measured,
    }
