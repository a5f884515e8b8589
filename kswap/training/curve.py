"""The learning curve of a training as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kswap.plots import figure_bytes, has_matplotlib
from kswap.training.record import TrainingRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def curve_of(record: TrainingRecord) -> bytes | None:
    """A PNG of losses and accuracy over the epochs; ``None`` where matplotlib is not installed (``kswap[plots]``)."""
    if not has_matplotlib():
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    losses, accuracies = figure.subplots(1, 2)
    for label, values in (
        ("training", [one.loss for one in record.measured]),
        ("validation", [one.eval_loss for one in record.measured]),
    ):
        _draw(losses, record, label, values)
    _draw(accuracies, record, "validation", [None if one.top1 is None else 100 * one.top1 for one in record.measured])
    losses.set_ylabel("loss")
    accuracies.set_ylabel("accuracy, %")
    for axes in (losses, accuracies):
        axes.set_xlabel("epochs")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    figure.suptitle(f"{record.model}: {record.params:,} trainable parameters, {record.train_images:,} pictures")
    return figure_bytes(figure)


def _draw(axes: Axes, record: TrainingRecord, label: str, values: list[float | None]) -> None:
    epochs = [one.images / record.train_images for one in record.measured]
    points = [(epoch, value) for epoch, value in zip(epochs, values, strict=True) if value is not None]
    if points:
        axes.plot(*zip(*points, strict=True), marker=".", label=label)
