"""All families, one after the other; what has its file is not measured again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from kswap.benchmarks.run import run_in_process
from kswap.errors import KswapError, StudyError
from kswap.progress import progress_bar
from kswap.runtimes.targets import check_target
from kswap.studies.families.choosing import chosen_models, smallest_models
from kswap.studies.families.picture import write_picture
from kswap.studies.families.result import FamilyStudy, Measured
from kswap.studies.families.settings import Settings
from kswap.studies.files import StudyDirectory, read, write
from kswap.studies.pictures import check_matplotlib


def family_study(
    settings: Settings,
    out: str | Path,
    families: Sequence[str] = (),
    minutes: float | None = None,
    command: str = "",
) -> FamilyStudy:
    """Measure the families that have no file in ``out`` yet, and return all that are there; a picture is written.

    Args:
        settings: How networks are timed. A study is continued with the same ones only.
        out: A directory; it is made where there is none.
        families: Those to measure, files of ``timm.models``; all where none is named.
        minutes: No further network begins after so many minutes.
        command: What the user has typed, for the result.

    Raises:
        StudyError: ``out`` holds a study with other settings, a family is unknown, a package is missing, or nothing was
            measured.
        DeployError: A target cannot run here.
    """
    models = chosen_models(families, settings.most_macs)
    check_matplotlib()
    for target in settings.targets:
        check_target(target)
    files = StudyDirectory(Path(out))
    files.claim(settings)
    end = None if minutes is None else time.monotonic() + 60 * minutes
    left = [family for family in models if not files.case(family).exists()]
    with progress_bar("families", len(left)) as bar:
        for family in left:
            if end is not None and time.monotonic() > end:
                break
            bar.label(f"{family}: {models[family]}")
            write(files.case(family), _measured(settings, family, models[family]))
            bar.advance()
    if not files.results():
        raise StudyError("no network was measured: give it more --minutes")
    measured = tuple(read(path, Measured) for path in files.results())
    found = FamilyStudy(settings, measured, len(smallest_models(settings.most_macs)), command)
    write_picture(found, files.root / "families.png")
    return found


def _measured(settings: Settings, family: str, model: str) -> Measured:
    try:
        return Measured(family, model, run_in_process(settings.request(model), progress=False))
    except KswapError as error:
        return Measured(family, model, None, str(error))
