"""Where a study keeps its files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kswap.errors import StudyError
from kswap.locking import directory_lock
from kswap.studies.cifar10.cases import Case
from kswap.studies.files import StudyDirectory


@dataclass(frozen=True)
class StudyFiles(StudyDirectory):
    """The files below ``root``. Several processes may work in it, each on cases of its own."""

    @property
    def speeds(self) -> Path:
        return self.root / "speeds.json"

    def result_of(self, case: Case) -> Path:
        """What a case measured."""
        return self.case(case.name)

    @contextmanager
    def held(self, name: str) -> Iterator[Path | None]:
        """The directory to work in on ``name``; ``None`` where another process does so.

        Raises:
            StudyError: It cannot be made.
        """
        place = self.work(name)
        try:
            place.mkdir(parents=True, exist_ok=True)
            with directory_lock(place) as held:
                yield None if held is False else place
        except OSError as error:
            raise StudyError(f"{place} cannot be written: {error.strerror}; choose another --out") from error
