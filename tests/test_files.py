"""Text files are read with a limit, and only where they are files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kswap.errors import RuleError
from kswap.files import read_text


def test_text_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("äb", encoding="utf-8")
    assert read_text(path, 3, RuleError) == "äb"
    with pytest.raises(RuleError, match="is too large: at most 2 bytes"):
        read_text(path, 2, RuleError)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/dev/zero", "is not a regular file"),
        ("pipe", "is not a regular file"),
        ("missing", "there is no file"),
        (".", "is a directory"),
        ("binary", "is not text"),
        ("a\0b", "is not a path"),
    ],
)
def test_what_is_no_text_file_is_refused_at_once(tmp_path: Path, name: str, message: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(RuleError, match=message):
        read_text(tmp_path / name, 100, RuleError)
