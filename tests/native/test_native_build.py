"""Compiling the native kernel: only when asked, once, and with one line that says why where it cannot be done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kswap.errors import DeployError
from kswap.native import build
from kswap.native.build import Compiler, build_library, built_library

FAKE = """#!/bin/sh
case "$*" in *-dM*) echo "#define __VERSION__ \\"$VERSION\\""; exit;; esac
echo built >> "$LOG"
{compile}
"""
WRITES = 'while [ "$1" != -o ]; do shift; done; echo library > "$2"'


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and a compiler that notes each build and writes a text."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    compiler(tmp_path, monkeypatch, WRITES)
    return tmp_path / "log"


def compiler(folder: Path, monkeypatch: pytest.MonkeyPatch, compile_: str) -> None:
    path = folder / "fake-c++"
    path.write_text(FAKE.format(compile=compile_))
    path.chmod(0o755)
    monkeypatch.setenv("CXX", str(path))


def test_a_library_is_built_once_for_each_compiler(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert built_library() is None
    assert not log.exists()
    first = build_library()
    assert first == build_library() == built_library()
    assert log.read_text().count("built") == 1
    monkeypatch.setenv("VERSION", "another compiler, or another processor")
    assert built_library() is None
    assert build_library() != first
    monkeypatch.setattr(build.torch, "__version__", "2.99")
    assert built_library() is None


def test_without_a_compiler_one_line_says_so(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    with pytest.raises(DeployError, match=r"no C\+\+ compiler \(CXX names 'no-such-compiler -O2'"):
        build_library()
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(log.parent))
    with pytest.raises(DeployError, match=r"there is no c\+\+, g\+\+, clang"):
        build_library()
    assert built_library() is None


def test_a_failed_build_gives_the_first_error_and_leaves_nothing(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler(log.parent, monkeypatch, "echo 'x.cpp:1: fatal error: no header' >&2; exit 1")
    with pytest.raises(DeployError, match="fatal error: no header"):
        build_library()
    assert not [path for path in (log.parent / "cache").rglob("*") if path.is_file()]


def test_a_build_that_takes_too_long_is_ended(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler(log.parent, monkeypatch, f"sleep 60 & echo $! > {log.parent}/child; wait")
    start = time.monotonic()
    with pytest.raises(DeployError, match="too long"):
        build_library(seconds=2)
    assert time.monotonic() - start < 20
    child = int((log.parent / "child").read_text())
    for _ in range(100):
        if not _runs(child):
            break
        time.sleep(0.1)
    assert not _runs(child)
    compiler(log.parent, monkeypatch, WRITES)
    assert build_library().is_file()


def _runs(number: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_one_process_waits_for_another_and_not_for_a_killed_one(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler(log.parent, monkeypatch, f"touch {log.parent}/started; exec sleep 60")
    code = "from kswap.native.build import build_library; build_library()"
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        for _ in range(600):
            if (log.parent / "started").exists():
                break
            time.sleep(0.1)
        with pytest.raises(DeployError, match="another process"):
            build_library(seconds=0.5)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    compiler(log.parent, monkeypatch, WRITES)
    assert build_library(seconds=10).is_file()
    assert not [*(log.parent / "cache").rglob("*.part")]


def test_nothing_is_compiled_by_an_import(log: Path) -> None:
    code = "import kswap, kswap.native.operator, kswap.inference.native_block"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert not log.exists()


def test_the_compiler_of_this_machine_is_found() -> None:
    assert b"__VERSION__" in Compiler.find().macros
