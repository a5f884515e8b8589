"""Where a study keeps its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kswap.studies.files import StudyDirectory
from kswap.studies.transfer.cases import Case


@dataclass(frozen=True)
class StudyFiles(StudyDirectory):
    """The files below ``root``."""

    @property
    def original(self) -> Path:
        return self.root / "original.json"

    def result_of(self, case: Case) -> Path:
        """What a case measured."""
        return self.case(case.name)

    def work_of(self, case: Case) -> Path:
        """The directory of a case that is being distilled; gone when it is done."""
        return self.work(case.name)
