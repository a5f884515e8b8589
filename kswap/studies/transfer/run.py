"""All cases of a study; what has its file is not done again."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from kswap.errors import StudyError
from kswap.progress import progress_bar
from kswap.studies.packages import check_packages
from kswap.studies.pictures import check_matplotlib
from kswap.studies.transfer.cases import Case
from kswap.studies.transfer.collecting import study_in
from kswap.studies.transfer.files import StudyFiles
from kswap.studies.transfer.methods import METHODS, find_method
from kswap.studies.transfer.pictures import write_pictures
from kswap.studies.transfer.result import TransferStudy
from kswap.studies.transfer.runner import Runner
from kswap.studies.transfer.settings import Settings
from kswap.studies.transfer.student import Method
from kswap.studies.transfer.subject import Subject


def transfer_study(
    settings: Settings,
    out: str | Path,
    methods: Sequence[str] = (),
    shares: Sequence[float] = (),
    minutes: float | None = None,
    command: str = "",
) -> TransferStudy:
    """Run the cases that have no file in ``out`` yet, and return all results that are there; two pictures are written.

    Args:
        settings: What to measure. A study is continued with the same ones only.
        out: A directory; it is made where there is none.
        methods: Names of the methods to run; all of :data:`METHODS` where none is named.
        shares: The shares of the settings to run; all where none is named.
        minutes: No further case begins after so many minutes.
        command: What the user has typed, for the result.

    Raises:
        StudyError: ``out`` holds a study with other settings, a package is missing, or nothing was run.
        KswapError: Another subclass, as ``convert`` and ``distill`` do.
    """
    chosen = [find_method(name) for name in methods or METHODS]
    unknown = [share for share in shares if share not in settings.shares]
    if unknown:
        raise StudyError(
            f"the study has no share {unknown[0]:g}: it has {', '.join(f'{s:g}' for s in settings.shares)}"
        )
    check_matplotlib()
    for method in chosen:
        check_packages(method.name, method.packages)
    files = StudyFiles(Path(out))
    end = None if minutes is None else time.monotonic() + 60 * minutes
    with progress_bar("reading pictures", total=None) as bar:
        subject = Subject.of(settings, files.root)
        files.claim(settings)  # not before the network and the pictures are found
        runner = Runner(subject, files, bar)
        runner.measure_original()
        for case in _todo(settings, files, chosen, shares):
            if end is not None and time.monotonic() > end:
                break
            runner.run(case)
    found = study_in(files, command)
    write_pictures(found, files.root)
    return found


def _todo(settings: Settings, files: StudyFiles, methods: Sequence[Method], shares: Sequence[float]) -> Iterator[Case]:
    """The cases without a file, when their turn comes: another process may have done one meanwhile."""
    for case in cases_of(settings, methods, shares):
        if not files.result_of(case).exists():
            yield case
    if settings.long_images and (not shares or settings.main_share in shares):
        for name in _best(settings, files, methods):
            case = Case(name, settings.main_share, 0, settings.long_images)
            if not files.result_of(case).exists():
                yield case


def cases_of(settings: Settings, methods: Sequence[Method], shares: Sequence[float] = ()) -> Iterator[Case]:
    """What matters most first: the main share with all seeds, then the others."""
    asked = [share for share in settings.shares if not shares or share in shares]
    for seed in range(settings.seeds):
        if settings.main_share in asked:
            yield from (Case(method.name, settings.main_share, seed, settings.images) for method in methods)
    for share in asked:
        if share != settings.main_share:
            yield from (Case(method.name, share, 0, settings.images) for method in methods)


def _best(settings: Settings, files: StudyFiles, methods: Sequence[Method]) -> Iterator[str]:
    """Of ours and of the others the one that is the most accurate at the main share, if it is one of ``methods``."""
    rows = [row for row in study_in(files).rows if row.share == settings.main_share and row.final is not None]
    for ours in (True, False):
        best = max((row for row in rows if row.ours == ours), key=lambda row: row.final.mean, default=None)  # type: ignore[union-attr]
        if best is not None and any(method.name == best.method for method in methods):
            yield best.method
