"""What a study found, as a value. Renderers turn it into text and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kswap.codec import encode
from kswap.studies.accuracy import Accuracy
from kswap.studies.choice import Choice
from kswap.studies.cifar10.settings import Settings
from kswap.studies.cifar10.speeds import BASELINE, Speeds


@dataclass(frozen=True)
class Row:
    """One method.

    ``params``, ``macs``, ``note``, ``lr`` and ``structured_lr`` are those of the first seed; ``seconds`` is the mean
    time of the steps of a training, and ``images`` how many images it saw.
    """

    method: str
    title: str
    ours: bool
    line: str
    params: int
    macs: int
    note: str
    lr: float
    accuracy: Accuracy
    hflip: Accuracy
    seconds: float
    images: int
    structured_lr: float = 1.0

    @property
    def images_per_second(self) -> float:
        """In the training of the study, where other processes may have run beside it."""
        return self.images / max(self.seconds, 1e-9)


@dataclass(frozen=True)
class Cifar10Study:
    """All rows, in the order of the registry of methods.

    ``choices`` are the learning rates that were tried; ``speeds`` are ``None`` while they have not been measured.
    """

    settings: Settings
    rows: tuple[Row, ...]
    choices: tuple[Choice, ...]
    speeds: Speeds | None
    command: str = ""

    @property
    def baseline(self) -> Row | None:
        """The row of the network as it is."""
        return next((row for row in self.rows if row.method == BASELINE), None)

    def to_json(self) -> Any:
        """All of it as JSON values."""
        return encode(self)

    def remarks(self) -> tuple[str, ...]:
        """What a reader has to know to judge the numbers."""
        s = self.settings
        first = self.rows[0]
        lines = [
            f"protocol {s.protocol}: {s.network} at {s.side} pixels with {s.skip_strides} strides skipped, recipe "
            f"{s.recipe}{_changes(s)}, {first.images:,} images seen in each training",
            "accuracy on the test pictures; mean of the seeds, least and greatest in brackets; with H-flip the "
            "probabilities of the mirrored picture are added",
        ]
        if self.choices:
            factors = ", ".join(f"{factor:g}" for factor in s.learning_rates)
            lines.append(
                f"learning rate: the recipe's times {factors}, chosen on {s.held_out:.0%} of the training pictures, "
                f"held out, after {s.choosing_epochs:g} epochs; the papers' networks share the choice for v2 at Ch 16"
            )
        if self.choices and s.structured_rates:
            multiples = ", ".join(f"{factor:g}" for factor in s.structured_rates)
            lines.append(
                f"layers of blocks: {multiples} times that rate were tried in the same way, after it was chosen"
            )
        if self.speeds is not None:
            speeds = self.speeds
            lines.append(
                f"times on the CPU, all networks side by side: one picture in ONNX Runtime, optimised for it, and in "
                f"PyTorch as it is made; a training step of {speeds.batch} pictures; ratios are the time of the "
                f"baseline / own time"
            )
            lines.append(f"{speeds.machine.hardware()}; {speeds.machine.software()}; {speeds.machine.date}")
        return tuple(lines)


def _changes(settings: Settings) -> str:
    """What of the recipe is another value here; how often it measures on the way changes no result."""
    changes = ", ".join(f"{key} {value}" for key, value in settings.recipe_changes.items() if key != "evaluations")
    return f" ({changes})" if changes else ""
