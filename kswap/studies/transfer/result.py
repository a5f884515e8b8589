"""What a study found, as a value. Renderers turn it into text and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kswap.codec import encode
from kswap.studies.accuracy import Accuracy
from kswap.studies.latency import Latencies, Latency
from kswap.studies.transfer.settings import Settings

# The name of the trained network itself among latencies and graphs.
ORIGINAL = "original"


@dataclass(frozen=True)
class Original:
    """The trained network itself."""

    params: int
    macs: int
    accuracy: float


@dataclass(frozen=True)
class Row:
    """One method at one share of the parameters.

    ``params`` and ``note`` are those of the first seed. Accuracies are before distillation, at the early point, at the
    end, and after a long run; ``None`` where no case was run.
    """

    method: str
    title: str
    ours: bool
    share: float
    params: int
    macs: int
    note: str
    lr: float
    untrained: Accuracy
    early: Accuracy | None
    final: Accuracy | None
    long: Accuracy | None
    latency: Latency | None


@dataclass(frozen=True)
class TransferStudy:
    """All rows, from the largest share to the smallest, in each the most accurate first."""

    settings: Settings
    original: Original
    rows: tuple[Row, ...]
    latencies: Latencies | None
    command: str = ""

    def of(self, method: str) -> Sequence[Row]:
        """The rows of one method, from the smallest network to the largest."""
        return sorted((row for row in self.rows if row.method == method), key=lambda row: row.params)

    @property
    def methods(self) -> dict[str, str]:
        """The titles of the methods by name, ours first."""
        ordered = sorted(self.rows, key=lambda row: (not row.ours, -(row.final or row.untrained).mean))
        return {row.method: row.title for row in ordered}

    def to_json(self) -> Any:
        """All of it as JSON values."""
        return encode(self)

    def remarks(self) -> tuple[str, ...]:
        """What a reader has to know to judge the numbers."""
        s = self.settings
        counts = f"{s.images:,} images ({s.early:,} on the way)"
        rates = " and ".join(f"{lr:g}" for lr in s.learning_rates)
        lines = [
            f"accuracy on the {s.validation_split} pictures at {s.side} pixels; every network is distilled from the "
            f"original on the {s.train_split} pictures by the recipe {s.recipe}, {counts}",
            f"mean of the seeds, least and greatest in brackets: {s.seeds} seeds at {s.main_share:.0%}, one elsewhere",
            f"learning rate of each method: the better of {rates} on {s.held_out} training pictures that were held "
            f"out, after {s.choosing_images:,} images at {s.main_share:.0%}",
        ]
        if self.latencies is not None:
            lines.append(
                f"ms: one picture at {self.latencies.side} pixels in ONNX Runtime, every network optimised for it, all "
                f"side by side in {self.latencies.rounds} rounds; the ratio is original time / own time"
            )
            machine = self.latencies.machine
            lines.append(f"{machine.hardware()}; {machine.software()}; {machine.date}")
        return tuple(lines)
