"""Where a scan keeps its files: settings, and for each stage a file per trial."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from kswap.errors import StudyError, excerpt, wording
from kswap.scans.trial import Trial
from kswap.trials import claim, read_value, write_value

T = TypeVar("T")

STAGES = ("planning", "latency", "training")


@dataclass(frozen=True)
class Stage(Generic[T]):
    """One stage of a scan: what it found for each trial, in memory, and in a directory where there is one."""

    name: str
    kind: type[T]
    root: Path | None
    found: dict[Trial, T] = field(default_factory=dict)

    def claim(self, settings: object) -> None:
        """Store ``settings``. Raises :class:`StudyError` where the stage was begun with other ones."""
        if self.root is not None:
            claim(self.root / f"{self.name}.json", settings, StudyError, "scan")

    def path_of(self, trial: Trial) -> Path | None:
        """The file of a trial."""
        return None if self.root is None else self.root / self.name / f"{trial.name}.json"

    def work_of(self, trial: Trial) -> Path | None:
        """Where what a trial makes is kept, beside its result; absolute, for other processes."""
        return None if self.root is None else self.root.absolute() / "networks" / trial.name

    def missing(self, trials: Iterable[Trial]) -> list[Trial]:
        """The trials without a result; those that an earlier run left are read."""
        left = []
        for trial in trials:
            path = self.path_of(trial)
            if trial not in self.found and path is not None and path.exists():
                self.found[trial] = read_value(path, self.kind, StudyError)
            if trial not in self.found:
                left.append(trial)
        return left

    def add(self, trial: Trial, value: T) -> None:
        """Keep a result, on disk too."""
        path = self.path_of(trial)
        if path is not None:
            write_value(path, value, StudyError)
        self.found[trial] = value


def check_directory(root: Path) -> None:
    """Refuse a directory with other files than those of a scan (:class:`StudyError`)."""
    try:
        names = set(os.listdir(root))
    except FileNotFoundError:
        return
    except OSError as error:
        raise StudyError(f"{excerpt(root, 200)} cannot be read: {error.strerror}; choose another {_out()}") from error
    if names and not names & {f"{stage}.json" for stage in STAGES}:
        raise StudyError(f"{excerpt(root, 200)} holds files that are not of a scan: choose another {_out()}")


def _out() -> str:
    return wording("directory", "--out")
