"""Where a study keeps its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from kswap.errors import StudyError
from kswap.studies.transfer.cases import Case
from kswap.studies.transfer.settings import Settings
from kswap.trials import claim, read_value, write_value

T = TypeVar("T")


@dataclass(frozen=True)
class StudyFiles:
    """The files below ``root``. Each is written whole or not at all."""

    root: Path

    @property
    def settings(self) -> Path:
        return self.root / "settings.json"

    @property
    def original(self) -> Path:
        return self.root / "original.json"

    @property
    def latencies(self) -> Path:
        return self.root / "latencies.json"

    @property
    def graphs(self) -> Path:
        """The networks as ONNX graphs, optimised."""
        return self.root / "graphs"

    def graph_of(self, network: str) -> Path:
        return self.graphs / f"{network}.onnx"

    def choice_of(self, method: str) -> Path:
        """The learning rate of a method."""
        return self.root / "learning-rates" / f"{method}.json"

    def result_of(self, case: Case) -> Path:
        """What a case measured."""
        return self.root / "cases" / f"{case.name}.json"

    def results(self) -> list[Path]:
        """The files of all cases that are done."""
        return sorted((self.root / "cases").glob("*.json"))

    def work_of(self, case: Case) -> Path:
        """The directory of a case that is being distilled; gone when it is done."""
        return self.root / "work" / case.name

    def claim(self, settings: Settings) -> None:
        """Write the settings where there are none yet. Raises :class:`StudyError` for a study with other ones."""
        claim(self.settings, settings, StudyError, "study")


def write(path: Path, value: object) -> None:
    """Write a value as JSON, whole or not at all. Raises :class:`StudyError`."""
    write_value(path, value, StudyError)


def read(path: Path, kind: type[T]) -> T:
    """Read a value that :func:`write` wrote. Raises :class:`StudyError`."""
    return read_value(path, kind, StudyError)
