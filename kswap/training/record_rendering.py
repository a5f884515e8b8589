"""A training for a terminal, as Markdown and as CSV."""

from __future__ import annotations

from rich.console import Console

from kswap.report.csv_text import csv_text
from kswap.report.markdown import prose
from kswap.report.measurements import measurements_markdown, print_measurements
from kswap.training.record import Training
from kswap.training.state import Measured

_HEADS = ("epoch", "learning rate", "loss", "validation loss", "accuracy")
# More rows than these are thinned out for people; JSON and CSV have all.
_ROWS = 25


def render_terminal(training: Training, console: Console) -> None:
    """A row per measurement, accuracy at the end, and how long it took."""
    print_measurements(console, _HEADS, _rows(training), _lines(training))


def render_markdown(training: Training) -> str:
    """The same as GitHub-flavoured Markdown, ending with one line break."""
    title = f"Training of {prose(training.record.model)}"
    return measurements_markdown(title, _HEADS, _rows(training), _lines(training))


def render_csv(training: Training) -> str:
    """A row per measurement; accuracy from 0 to 1."""
    per_epoch = training.record.train_images
    rows = [
        {
            "images": m.images,
            "epoch": round(m.images / per_epoch, 3),
            "lr": m.lr,
            "loss": m.loss,
            "eval_loss": m.eval_loss,
            "top1": m.top1,
        }
        for m in training.record.measured
    ]
    return csv_text(("images", "epoch", "lr", "loss", "eval_loss", "top1"), rows)


def _rows(training: Training) -> list[tuple[str, ...]]:
    measured = training.record.measured
    step = -(-len(measured) // _ROWS)
    shown = measured[::-1][::step][::-1]  # the last one in any case
    return [_row(one, training.record.train_images) for one in shown]


def _row(measured: Measured, per_epoch: int) -> tuple[str, ...]:
    return (
        f"{measured.images / per_epoch:.4g}",
        "" if measured.lr is None else f"{measured.lr:.3g}",
        "" if measured.loss is None else f"{measured.loss:.4f}",
        "" if measured.eval_loss is None else f"{measured.eval_loss:.4f}",
        "" if measured.top1 is None else f"{measured.top1:.2%}",
    )


def _lines(training: Training) -> list[str]:
    record, lines = training.record, []
    if record.tested is not None:
        tested = record.tested
        lines.append(
            f"accuracy {tested.top1:.2%}, with the mirrored pictures {tested.top1_hflip:.2%}, on {tested.images:,} "
            f"pictures of {tested.data} ({record.kept} weights, after {record.kept_images:,} images)"
        )
    lines.append(
        f"{record.model}: {record.params:,} trainable parameters, {record.images:,} images seen in "
        f"{record.seconds:,.1f} s on {record.settings['device']} ({record.images_per_second:,.1f} images per second)"
    )
    return lines
