"""The results in the files of a study, put together."""

from __future__ import annotations

import statistics
from collections import defaultdict

from kswap.errors import StudyError
from kswap.studies.accuracy import Accuracy
from kswap.studies.choice import Choice
from kswap.studies.cifar10.cases import CaseResult
from kswap.studies.cifar10.files import StudyFiles
from kswap.studies.cifar10.methods import METHODS, find_method
from kswap.studies.cifar10.result import Cifar10Study, Row
from kswap.studies.cifar10.settings import Settings
from kswap.studies.cifar10.speeds import Speeds
from kswap.studies.files import read


def study_in(files: StudyFiles, command: str = "") -> Cifar10Study:
    """All results that are there. Raises :class:`StudyError` where no case is done."""
    by_method: dict[str, list[CaseResult]] = defaultdict(list)
    for path in files.results():
        result = read(path, CaseResult)
        by_method[result.case.method].append(result)
    if not by_method:
        raise StudyError(f"{files.root} has no results yet: run a case first")
    rows = [_row(name, by_method[name]) for name in METHODS if name in by_method]
    choices = [read(path, Choice) for path in sorted((files.root / "learning-rates").glob("*.json"))]
    speeds = read(files.speeds, Speeds) if files.speeds.exists() else None
    return Cifar10Study(read(files.settings, Settings), tuple(rows), tuple(choices), speeds, command)


def _row(name: str, results: list[CaseResult]) -> Row:
    ordered = sorted(results, key=lambda result: result.case.seed)
    first, method = ordered[0], find_method(name)
    return Row(
        method=name,
        title=method.title,
        ours=method.ours,
        line=method.line,
        params=first.params,
        macs=first.macs,
        note=first.note,
        lr=first.lr,
        accuracy=Accuracy(tuple(result.accuracy for result in ordered)),
        hflip=Accuracy(tuple(result.hflip for result in ordered)),
        seconds=round(statistics.fmean(result.seconds for result in ordered), 2),
        images=first.images,
        structured_lr=first.structured_lr,
    )
