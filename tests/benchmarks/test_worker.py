"""A function in a process of its own: its value, its exception, its end, and nothing of the current directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from process_tasks import OwnError, answer, die, interrupt, leave, refuse, refuse_with_two

from kswap.benchmarks import profile
from kswap.benchmarks.worker import call_in_process
from kswap.coverage.pool import Limits, Worker
from kswap.errors import DeployError, KswapError, PlanError


def test_the_value_comes_back_from_the_environment_that_was_asked_for() -> None:
    found = call_in_process(answer, {"number": 21}, {**os.environ, "MARK": "here"})
    assert found == {"doubled": 42, "path": "here"}


@pytest.mark.parametrize(
    ("kind", "error"), [("own", OwnError), ("plan", PlanError), ("value", ValueError), ("memory", MemoryError)]
)
def test_an_exception_keeps_its_class(kind: str, error: type[Exception]) -> None:
    with pytest.raises(error, match="too much for this test") as raised:
        call_in_process(refuse, {"kind": kind}, os.environ, quiet=True)
    assert type(raised.value) is error
    assert str(raised.value) == "too much for this test"
    notes = "".join(getattr(raised.value, "__notes__", []))
    assert ("in refuse" in notes) is not issubclass(error, KswapError)


def test_an_exception_that_cannot_be_built_again_says_its_class() -> None:
    with pytest.raises(DeployError, match="TwoArgumentsError: one and two"):
        call_in_process(refuse_with_two, {}, os.environ, quiet=True)


def test_a_process_that_ends_early_says_how() -> None:
    with pytest.raises(DeployError, match="was ended by SIGKILL, most likely for lack of memory"):
        call_in_process(die, {}, os.environ, quiet=True)
    with pytest.raises(DeployError, match="failed with exit status 3"):
        call_in_process(leave, {}, os.environ, quiet=True)
    with pytest.raises(KeyboardInterrupt):
        call_in_process(interrupt, {}, os.environ, quiet=True)


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory whose modules leave a file behind when they are imported."""
    sprung = tmp_path / "sprung"
    bait = f"from pathlib import Path; Path({str(sprung)!r}).write_text(__name__)\n"
    for name in ("kswap/__init__.py", "json.py", "signal.py", "socket.py", "ctypes.py", "timm.py", "torch.py"):
        path = tmp_path / "here" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(bait)
    monkeypatch.chdir(tmp_path / "here")
    return sprung


def test_a_process_runs_no_module_of_the_current_directory(trap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend("")  # as in an interactive session
    assert call_in_process(answer, {"number": 1}, os.environ)["doubled"] == 2
    assert not trap.exists()


def test_a_sweep_runs_no_module_of_the_current_directory(trap: Path) -> None:
    worker = Worker(16, Limits(seconds=120))
    try:
        row = worker.check("no_such_model")
    finally:
        worker.stop()
    assert not trap.exists()
    assert "no_such_model" in str(row.error)
    assert "PYTHONSAFEPATH" not in os.environ


def test_profiling_runs_no_module_of_the_current_directory(trap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    real = profile.subprocess.run
    monkeypatch.setattr(profile.subprocess, "run", lambda *args, **kwargs: ran.append(real(*args, **kwargs)))
    monkeypatch.setattr(profile, "_import_all", lambda: (_ for _ in ()).throw(KswapError("that is enough")))
    with pytest.raises(KswapError, match="that is enough"):
        profile.profile("resnet18", 16)
    assert ran[0].returncode == 0
    assert not trap.exists()
