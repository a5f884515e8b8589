"""What a compression did, as a value and as a file beside the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from kswap.codec import Between, decode, encode
from kswap.converted import Conversion
from kswap.errors import KswapError, TrainingError
from kswap.files import read_json, write_text
from kswap.saved.files import COMPRESSION
from kswap.transfer.record import DistillationRecord


@dataclass(frozen=True)
class Stage:
    """A stage, what it took, and the accuracy after it; ``None`` where nothing was measured."""

    name: str
    seconds: Annotated[float, Between(0, 1e12)]
    top1: float | None = None


@dataclass(frozen=True)
class CompressionRecord:
    """What was asked for, and what came out of each stage."""

    settings: Mapping[str, Any]
    stages: tuple[Stage, ...]

    def save(self, directory: Path) -> None:
        """Write the record into a saved directory."""
        write_text(directory / COMPRESSION, json.dumps(encode(self), indent=1), TrainingError)

    @classmethod
    def found(cls, directory: Path, settings: Mapping[str, Any]) -> CompressionRecord | None:
        """The record in ``directory``, where it is the result of a run with these settings."""
        try:
            data = read_json(directory / COMPRESSION, TrainingError, "record")
            record = decode(cls, data, "the record", TrainingError)
        except KswapError:  # none there, or one of another version
            return None
        return record if record.settings == settings else None


@dataclass(frozen=True)
class Compression:
    """What :func:`kswap.compress` returns: the small model in eval mode, and how it came about."""

    conversion: Conversion
    stages: tuple[Stage, ...]
    distillation: DistillationRecord
    directory: Path

    def to_json(self) -> dict[str, Any]:
        """Sizes, stages and the record of the distillation, as JSON values."""
        report = self.conversion.report
        return {
            "model": report.model,
            **{key: change.to_json() for key, change in report.totals.items()},
            "stages": encode(self.stages),
            "distillation": encode(self.distillation),
            "directory": str(self.directory),
        }
