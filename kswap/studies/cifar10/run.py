"""All cases of a study; what has its file is not done again."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from kswap.errors import StudyError, nearest
from kswap.progress import ProgressBar, progress_bar
from kswap.studies.cifar10.cases import Case
from kswap.studies.cifar10.collecting import study_in
from kswap.studies.cifar10.data import training_pictures
from kswap.studies.cifar10.files import StudyFiles
from kswap.studies.cifar10.methods import find_method
from kswap.studies.cifar10.pictures import write_pictures
from kswap.studies.cifar10.result import Cifar10Study
from kswap.studies.cifar10.runner import Runner
from kswap.studies.cifar10.settings import Settings
from kswap.studies.cifar10.speeds import BASELINE, measure
from kswap.studies.files import write
from kswap.studies.packages import check_packages
from kswap.studies.pictures import check_matplotlib

_TIMES = "times"


def cifar10_study(
    settings: Settings,
    out: str | Path,
    methods: Sequence[str] = (),
    minutes: float | None = None,
    command: str = "",
) -> Cifar10Study:
    """Run the cases that have no file in ``out`` yet, and return all results that are there; two pictures are written.

    Several processes may run the same study at once: each takes cases that no other works on. Times are measured when
    no case is left to do.

    Args:
        settings: What to measure, see :func:`kswap.studies.cifar10.protocols.protocol`. A study is continued with the
            same ones only.
        out: A directory; it is made where there is none.
        methods: Names of the methods to run; all of the settings where none is named.
        minutes: No further case begins after so many minutes.
        command: What the user has typed, for the result.

    Raises:
        StudyError: ``out`` holds a study with other settings, a package is missing, or nothing was run.
        KswapError: Another subclass, as ``convert`` and ``train`` do.
    """
    chosen = [find_method(name) for name in methods or settings.methods]
    for method in chosen:
        if method.name not in settings.methods:
            known = settings.methods
            raise StudyError(
                f"the protocol {settings.protocol} does not have the method {method.name}: it has {', '.join(known)}"
                f"{nearest(method.name, known)}"
            )
        check_packages(method.name, method.packages)
    check_matplotlib()
    files = StudyFiles(Path(out))
    end = None if minutes is None else time.monotonic() + 60 * minutes
    with progress_bar("reading pictures", total=None) as bar:
        training_pictures(settings)
        files.claim(settings)  # not before the pictures are found
        cases = tuple(cases_of(settings, [method.name for method in chosen]))
        if _run_all(Runner(settings, files, bar), files, cases, end):
            _measure(settings, files, bar)
    found = study_in(files, command)
    write_pictures(found, files.root)
    return found


def cases_of(settings: Settings, methods: Sequence[str]) -> Iterator[Case]:
    """What matters most first: stage by stage, in each one seed after the other; each case once."""
    every = (
        Case(method, seed)
        for stage in settings.stages
        for seed in range(stage.seeds)
        for method in stage.methods
        if method in methods
    )
    yield from dict.fromkeys(every)


def _run_all(runner: Runner, files: StudyFiles, cases: Sequence[Case], end: float | None) -> bool:
    """Run what has no file, and come back to what waited for another process; whether all of it is done."""
    while left := [case for case in cases if not files.result_of(case).exists()]:
        ran = False
        for case in left:
            if end is not None and time.monotonic() > end:
                return False
            ran |= not files.result_of(case).exists() and runner.run(case)
        if not ran:
            return False
    return True


def _measure(settings: Settings, files: StudyFiles, bar: ProgressBar) -> None:
    """Measure the times of all networks that have results, where one of them has none."""
    found = study_in(files)
    methods = frozenset({BASELINE, *(row.method for row in found.rows)})
    if found.speeds is not None and methods <= found.speeds.methods:
        return
    with files.held(_TIMES) as work:
        if work is not None:
            write(files.speeds, measure(settings, files, methods, bar))
            work.rmdir()
