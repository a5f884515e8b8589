"""What all tests share: threads, signals, and a folder and a zip of pictures."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is imported: several workers, and the processes that tests start, use one thread each.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from pictures_fixture import CLASSES, noise, zipped

# A shell ignores Ctrl-C for what it runs in the background, and processes that tests start would inherit that.
with contextlib.suppress(ValueError):
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of 2 pictures to train and 8 to test; a file that is no picture, and a hidden one."""
    root = tmp_path / "pictures"
    for split, seeds in (("train", range(2)), ("test", range(2, 10))):
        for number, name in enumerate(CLASSES):
            (root / split / name).mkdir(parents=True)
            for seed in seeds:
                noise(100 * number + seed).save(root / split / name / f"{seed}.png")
    (root / "notes.txt").write_text("not a picture")
    (root / "test" / "red" / ".hidden.png").write_bytes(b"")
    return root


@pytest.fixture
def archive(folder: Path, tmp_path: Path) -> Path:
    """The test split of the folder as a zip, with what a Mac adds to it."""
    members = {f"test/{p.parent.name}/{p.name}": p.read_bytes() for p in sorted((folder / "test").glob("*/[!.]*.png"))}
    return zipped(tmp_path / "pictures.zip", {**members, "__MACOSX/test/red/._4.png": b"junk"})
