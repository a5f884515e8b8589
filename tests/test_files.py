"""Text files: within limits, plain files only, whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from kswap.errors import ModelError, nearest
from kswap.files import read_json, read_text, write_text


def test_round_trip(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "größer", ModelError)
    assert (tmp_path / "a.txt").read_bytes() == "größer\n".encode()
    assert read_text(tmp_path / "a.txt", 100, ModelError) == "größer\n"
    (tmp_path / "bom.txt").write_bytes(b"\xef\xbb\xbfa\r\n")
    assert read_text(tmp_path / "bom.txt", 100, ModelError) == "a\r\n"
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a.txt", "bom.txt"]


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        refused: list[str] = []

        def read(path: str | Path = path, refused: list[str] = refused) -> None:
            with pytest.raises(ModelError, match=r"not a plain file|Is a directory") as error:
                read_text(path, 100, ModelError)
            refused.append(str(error.value))

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        thread.join(10)
        assert refused, f"{path} was read"


def test_limits(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a" * 11)
    with pytest.raises(ModelError, match="too large: 11 bytes, at most 10"):
        read_text(tmp_path / "a", 10, ModelError)
    (tmp_path / "b").write_bytes(b"\xff")
    with pytest.raises(ModelError, match=r"not UTF-8 text \(byte 0\)"):
        read_text(tmp_path / "b", 100, ModelError)
    for text in ("{", "[" * 100_000, "1" * 5000):
        (tmp_path / "c").write_text(text)
        with pytest.raises(ModelError, match="holds no valid JSON"):
            read_json(tmp_path / "c", ModelError)


@pytest.mark.parametrize("path", ["a\0b", "n" * 300, "missing/file"])
def test_impossible_paths(path: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        read_text(tmp_path / path, 100, ModelError)
    with pytest.raises(ModelError, match="cannot be written"):
        write_text(tmp_path / path, "a", ModelError)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "a", "old", ModelError)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelError, match="No space left on device; choose another place"):
        write_text(tmp_path / "a", "new", ModelError)
    assert (tmp_path / "a").read_text() == "old\n"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_modes_and_links_stay(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "a").chmod(0o640)
    (tmp_path / "link").symlink_to("a")
    write_text(tmp_path / "link", "new", ModelError)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a").read_text() == "new\n"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_device_is_written_to_and_not_replaced() -> None:
    write_text("/dev/null", "a", ModelError)
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    with pytest.raises(ModelError, match="No space left on device"):
        write_text("/dev/full", "a", ModelError)


def test_a_very_long_name_has_no_nearest_one() -> None:
    assert nearest("a" * 100_000, ["a" * 99_999] * 1000) == ""
