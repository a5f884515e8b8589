"""A study for a terminal, as Markdown and as CSV."""

from __future__ import annotations

from rich.console import Console

from kswap.report.csv_text import csv_text
from kswap.studies.accuracy import Accuracy
from kswap.studies.latency import Latency
from kswap.studies.rendering import print_study, study_markdown
from kswap.studies.transfer.result import ORIGINAL, Row, TransferStudy


def render_terminal(study: TransferStudy, console: Console) -> None:
    """A row per network; on a narrow terminal the last columns go first."""
    print_study(console, _heads(study), _lines(study), study.remarks())


def render_markdown(study: TransferStudy) -> str:
    """A GitHub table of all networks, and below it what was measured how."""
    return study_markdown(_heads(study), _lines(study), study.remarks(), study.command)


def render_csv(study: TransferStudy) -> str:
    """A row per network and seed's mean; accuracies from 0 to 1, times in seconds."""
    return csv_text(_COLUMNS, [_flat(row) for row in study.rows])


_COLUMNS = (
    *("method", "share", "params", "macs", "lr", "untrained", "early", "final", "long"),
    *("seeds", "latency", "ratio", "note"),
)


def _heads(study: TransferStudy) -> tuple[str, ...]:
    after = tuple(f"{images:,} images" for images in _points(study).values())
    return ("network", "parameters", "left", "untrained", *after, "ms", "ratio")


def _points(study: TransferStudy) -> dict[str, int]:
    """What a row calls its accuracy after so many images; a study may have no long runs."""
    s = study.settings
    points = {"early": s.early, "final": s.images, "long": s.long_images}
    return {name: images for name, images in points.items() if images}


def _lines(study: TransferStudy) -> list[tuple[str, ...]]:
    original = study.original
    found: list[tuple[str, ...]] = [
        (
            study.settings.model,
            f"{original.params:,}",
            "100%",
            f"{original.accuracy:.3f}",
            *("" for _ in _points(study)),
            *_times(study.latencies.networks.get(ORIGINAL) if study.latencies else None),
        )
    ]
    for row in study.rows:
        accuracies = (str(row.untrained), *(_shown(getattr(row, name)) for name in _points(study)))
        left = f"{row.params / original.params:.1%}"
        found.append((row.title, f"{row.params:,}", left, *accuracies, *_times(row.latency)))
    return found


def _shown(accuracy: Accuracy | None) -> str:
    return "" if accuracy is None else str(accuracy)


def _times(latency: Latency | None) -> tuple[str, str]:
    if latency is None:
        return "", ""
    return f"{latency.seconds.median * 1000:.2f}", f"{latency.ratio:.2f}"


def _flat(row: Row) -> dict[str, object]:
    means = {
        name: None if value is None else value.mean
        for name, value in (("early", row.early), ("final", row.final), ("long", row.long))
    }
    return {
        **{name: getattr(row, name) for name in ("method", "share", "params", "macs", "lr", "note")},
        **means,
        "untrained": row.untrained.mean,
        "seeds": len(row.untrained.values),
        "latency": None if row.latency is None else row.latency.seconds.median,
        "ratio": None if row.latency is None else row.latency.ratio,
    }
