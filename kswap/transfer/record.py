"""What a distillation did, as a value and as a file beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from kswap.codec import Between, decode, encode
from kswap.converted import Conversion
from kswap.errors import KswapError, TrainingError
from kswap.files import read_json
from kswap.saved.files import DISTILLATION
from kswap.training.state import Measured


@dataclass(frozen=True)
class DistillationRecord:
    """What a distillation did, as it is written beside the weights.

    Args:
        settings: What was asked for; a run is only continued, or taken for done, with the same.
        images: Images seen in training, each as often as it was seen.
        seconds: What the steps and the measurements along the way took.
        measured: Loss and accuracy along the way, those before the first step included.
        teacher_top1: The teacher's accuracy on the same pictures; ``None`` where there are no labels.
        examined: The pictures that accuracy was measured on, and how many; ``None`` where there are no labels.
        kept: Which weights the model has: ``"last"`` or ``"best"``.
    """

    settings: Mapping[str, Any]
    images: Annotated[int, Between(0, 2**63 - 1)]
    seconds: float
    measured: tuple[Measured, ...]
    teacher_top1: float | None
    examined: str | None
    examined_images: Annotated[int, Between(0, 2**63 - 1)]
    kept: str

    @property
    def after(self) -> float | None:
        """Accuracy of the weights that the model has now; ``None`` where there are no labels."""
        last = self.measured[-1].top1
        found = [measured.top1 for measured in self.measured[1:] if measured.top1 is not None]
        return max(found, default=last) if self.kept == "best" else last

    def stages(self, start: str) -> dict[str, float | None]:
        """Accuracy by stage: of the teacher, of the model that ``start`` names, and after the distillation."""
        return {"original": self.teacher_top1, start: self.measured[0].top1, "distilled": self.after}


@dataclass(frozen=True)
class Distillation:
    """What :func:`distill` returns: the conversion with the distilled weights, in eval mode, and what was measured."""

    conversion: Conversion
    record: DistillationRecord
    directory: Path | None = None

    @property
    def images(self) -> int:
        """Images seen in training, each as often as it was seen."""
        return self.record.images

    @property
    def seconds(self) -> float:
        """What the steps and the measurements along the way took."""
        return self.record.seconds

    @property
    def losses(self) -> tuple[tuple[int, float], ...]:
        """Images seen, and the mean loss since the measurement before."""
        return tuple((m.images, m.loss) for m in self.record.measured if m.loss is not None)

    @property
    def accuracies(self) -> tuple[tuple[int, float], ...]:
        """Images seen, and top-1 accuracy from 0 to 1: before the first step, along the way and at the end."""
        return tuple((m.images, m.top1) for m in self.record.measured if m.top1 is not None)

    @property
    def before(self) -> float | None:
        """Accuracy before the first step; ``None`` where there are no labels."""
        return self.record.measured[0].top1

    @property
    def after(self) -> float | None:
        """Accuracy of the weights that the model has now; ``None`` where there are no labels."""
        return self.record.after

    def to_json(self) -> dict[str, Any]:
        """The record, and the directory, as JSON values."""
        written: dict[str, Any] = encode(self.record)
        return written | {"directory": None if self.directory is None else str(self.directory)}


def read_record(directory: Path) -> DistillationRecord:
    """The record in a directory that a distillation was saved in. Raises :class:`TrainingError`."""
    data = read_json(directory / DISTILLATION, TrainingError, "record")
    return decode(DistillationRecord, data, f"{directory / DISTILLATION}", TrainingError)


def finished(directory: Path, settings: Mapping[str, Any], kept: str) -> DistillationRecord | None:
    """The record in ``directory``, where it is the result of a run with these settings and weights."""
    try:
        found = read_record(directory)
    except KswapError:  # none there, or one of another version: then nothing is known of the directory
        return None
    return found if (found.settings, found.kept) == (encode(settings), kept) else None
