"""What every study keeps in its directory, and values as JSON files: written whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from kswap.errors import StudyError
from kswap.trials import claim, read_value, write_value

T = TypeVar("T")


@dataclass(frozen=True)
class StudyDirectory:
    """The files below ``root`` that all studies have: settings, a file per case, graphs and times of the networks."""

    root: Path

    @property
    def settings(self) -> Path:
        return self.root / "settings.json"

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

    def case(self, name: str) -> Path:
        """What the case of this name measured."""
        return self.root / "cases" / f"{name}.json"

    def results(self) -> list[Path]:
        """The files of all cases that are done."""
        return sorted((self.root / "cases").glob("*.json"))

    def work(self, name: str) -> Path:
        """The directory of the case of this name while it runs; gone when it is done."""
        return self.root / "work" / name

    def claim(self, settings: object) -> None:
        """Write the settings where there are none yet. Raises :class:`StudyError` for a study with other ones."""
        claim(self.settings, settings, StudyError, "study")


def write(path: Path, value: object) -> None:
    """Write a value as JSON, whole or not at all. Raises :class:`StudyError`."""
    write_value(path, value, StudyError)


def read(path: Path, kind: type[T]) -> T:
    """Read a value that :func:`write` wrote. Raises :class:`StudyError`."""
    return read_value(path, kind, StudyError)
