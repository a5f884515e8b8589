"""What a training did, as a value and as a file beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from kswap.codec import Between, decode, encode
from kswap.converted import Conversion
from kswap.errors import KswapError, TrainingError
from kswap.files import read_json
from kswap.saved.files import TRAINING
from kswap.training.state import Measured

Count = Annotated[int, Between(0, 2**63 - 1)]


@dataclass(frozen=True)
class Tested:
    """Accuracy at the end, of the weights that were kept.

    Args:
        data: The pictures.
        images: How many.
        top1: Accuracy, from 0 to 1.
        top1_hflip: The same, with the probabilities of the mirrored picture added to those of the picture.
        loss: The mean cross-entropy.
    """

    data: str
    images: Count
    top1: float
    top1_hflip: float
    loss: float


@dataclass(frozen=True)
class TrainingRecord:
    """What a training did, as it is written beside the weights.

    Args:
        settings: What was asked for; a run is only continued, or taken for done, with the same.
        model: What was trained.
        classes: The names of the classes, in the order of the outputs.
        params: Trainable parameters.
        images: Images seen in training, each as often as it was seen.
        epochs: The same as passes over the training pictures.
        train_images: How many training pictures there are.
        seconds: What the steps took, without measurements and reading.
        images_per_second: Images seen, by these seconds.
        measured: Loss, accuracy and learning rate along the way.
        validation: The pictures that were measured along the way; ``None`` where none were.
        validation_images: How many.
        kept: Which weights the model has: ``"last"`` or ``"best"``.
        kept_images: After how many images it had them.
        tested: Accuracy of these weights at the end; ``None`` where there are no pictures to measure it on.
    """

    settings: Mapping[str, Any]
    model: str
    classes: tuple[str, ...]
    params: Count
    images: Count
    epochs: float
    train_images: Count
    seconds: float
    images_per_second: float
    measured: tuple[Measured, ...]
    validation: str | None
    validation_images: Count
    kept: str
    kept_images: Count
    tested: Tested | None


@dataclass(frozen=True)
class Training:
    """What :func:`kswap.train` returns: the conversion with the trained weights, in eval mode, and what was measured.

    ``directory`` is where it was saved; ``None`` where it was not.
    """

    conversion: Conversion
    record: TrainingRecord
    directory: Path | None = None

    @property
    def top1(self) -> float | None:
        """Accuracy at the end, from 0 to 1, on the test pictures, or else on those of validation."""
        return None if self.record.tested is None else self.record.tested.top1

    @property
    def top1_hflip(self) -> float | None:
        """The same, with the softmax outputs of the mirrored picture added, as in the papers."""
        return None if self.record.tested is None else self.record.tested.top1_hflip

    def to_json(self) -> dict[str, Any]:
        """The record, and the directory, as JSON values."""
        written: dict[str, Any] = encode(self.record)
        return written | {"directory": None if self.directory is None else str(self.directory)}


def read_record(directory: Path) -> TrainingRecord:
    """The record in a directory that a training was saved in. Raises :class:`TrainingError`."""
    data = read_json(directory / TRAINING, TrainingError, "record")
    return decode(TrainingRecord, data, f"{directory / TRAINING}", TrainingError)


def finished(directory: Path, settings: Mapping[str, Any]) -> TrainingRecord | None:
    """The record in ``directory``, where it is the result of a run with these settings."""
    try:
        found = read_record(directory)
    except KswapError:  # none there, or one of another version: then nothing is known of the directory
        return None
    return found if found.settings == encode(settings) else None
