"""Directories are exchanged at once, nothing is overwritten unasked, and what a killed process left goes away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from kswap.saved import replacing
from kswap.saved.files import PLAN, WEIGHTS
from kswap.saved.replacing import exchange, fresh_directory, leftovers_of, remove_leftovers


def write(directory: Path, text: str) -> None:
    for name in (PLAN, WEIGHTS):
        (directory / name).write_text(text)


def content(directory: Path) -> set[str]:
    return {(directory / name).read_text() for name in (PLAN, WEIGHTS)}


def replace(target: Path, text: str, force: bool = True) -> None:
    with fresh_directory(target, force) as fresh:
        write(fresh, text)


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is of Linux")
def test_two_directories_are_exchanged(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "name").write_text(name)
    assert exchange(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a" / "name").read_text() == "b"
    assert not exchange(tmp_path / "a", tmp_path / "missing")


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_target_is_replaced_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool
) -> None:
    if not exchanges:
        monkeypatch.setattr(replacing, "exchange", lambda *_: False)
    for text in ("one", "two"):
        replace(tmp_path / "t", text)
        assert content(tmp_path / "t") == {text}
        assert [p.name for p in tmp_path.iterdir()] == ["t"]


def test_a_directory_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "t"

    def save_late() -> None:
        with fresh_directory(target, force=False) as fresh:
            write(fresh, "mine")
            target.mkdir()
            write(target, "theirs")

    with pytest.raises(OSError, match="not empty"):
        save_late()
    assert content(target) == {"theirs"}
    assert [p.name for p in tmp_path.iterdir()] == ["t"]


def test_of_saves_at_the_same_time_one_wins(tmp_path: Path) -> None:
    barrier, won = threading.Barrier(6), []

    def save(number: int) -> None:
        barrier.wait()
        try:
            replace(tmp_path / "t", str(number), force=False)
        except OSError:
            return
        won.append(str(number))

    threads = [threading.Thread(target=save, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert content(tmp_path / "t") == set(won)
    assert [p.name for p in tmp_path.iterdir()] == ["t"]


REPLACING = """
import sys
from pathlib import Path
from kswap.saved.files import PLAN, WEIGHTS
from kswap.saved.replacing import fresh_directory
number = 0
print("ready", flush=True)
while True:
    with fresh_directory(Path(sys.argv[1]), force=True) as fresh:
        for name in (PLAN, WEIGHTS):
            (fresh / name).write_text(str(number))
    number += 1
"""


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is of Linux")
def test_a_target_that_is_replaced_is_never_missing_and_survives_a_kill(tmp_path: Path) -> None:
    target = tmp_path / "t"
    replace(target, "first")
    process = subprocess.Popen([sys.executable, "-c", REPLACING, str(target)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        deadline, looks = time.monotonic() + 1, 0
        while time.monotonic() < deadline:
            assert (target / PLAN).is_file()
            looks += 1
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert looks > 100
    assert len(content(target)) == 1
    age(tmp_path)
    replace(target, "last")
    assert [p.name for p in tmp_path.iterdir()] == ["t"]


def age(directory: Path) -> None:
    """Make hidden directories look older than the grace of a new one."""
    for path in directory.glob(".*"):
        os.utime(path, (0, 0))


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    target = tmp_path / "t"
    left = tmp_path / ".t.0123abcd.saving"
    left.mkdir()
    write(left, "torn")
    foreign = tmp_path / ".t.4567abcd.saving"
    foreign.mkdir()
    (foreign / "cat.jpg").write_text("meow")
    age(tmp_path)
    with fresh_directory(target, force=False) as living:
        write(living, "new")
        os.utime(living, (0, 0))
        assert living not in leftovers_of(target)
        assert not left.exists()
    assert content(target) == {"new"}
    assert (foreign / "cat.jpg").exists()


def test_a_target_between_two_renames_is_put_back(tmp_path: Path) -> None:
    target = tmp_path / "t"
    replace(target, "old")
    target.rename(tmp_path / ".t.0123abcd.saved")
    remove_leftovers(target)
    assert content(target) == {"old"}
