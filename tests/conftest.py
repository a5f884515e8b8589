"""A folder and a zip of pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from pictures_fixture import CLASSES, noise, zipped


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
