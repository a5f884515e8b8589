"""Trials in other processes: on this machine, and on a Ray cluster of two workers where Ray is installed."""

from __future__ import annotations

import importlib.util
import os
import threading
import time
from pathlib import Path

import pytest
from scan_tasks import meet, sleep_long

from kswap.errors import StudyError, TrainingError
from kswap.scans.executors import EXECUTORS, executor_of
from kswap.scans.executors.executor import Executor, Settings


@pytest.fixture(params=EXECUTORS)
def executor(request: pytest.FixtureRequest) -> Executor:
    if request.param == "ray":
        pytest.importorskip("ray")
    made = executor_of(request.param, Settings(workers=2, device="cpu"))
    made.check()
    return made


def test_two_trials_run_at_a_time_and_a_mistake_in_one_does_not_end_the_others(
    executor: Executor, tmp_path: Path
) -> None:
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    requests = [{"own": first, "other": second}, {"own": None}, {"own": second, "other": first}]
    outcomes = {outcome.number: outcome for outcome in executor.run(meet, requests)}
    assert type(outcomes[1].error) is TrainingError
    assert str(outcomes[1].error) == "there is nobody to meet"
    met = [outcomes[0].value, outcomes[2].value]
    assert [one["met"] for one in met] == [True, True]
    assert len({os.getpid(), *(one["process"] for one in met)}) == 3


def test_what_runs_is_ended_with_the_scan(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    running = executor_of("local", Settings(workers=1)).run(sleep_long, [{"begun": str(begun)}] * 3)

    def interrupt() -> None:
        end = time.monotonic() + 120
        while not begun.exists() or not begun.read_text():
            assert time.monotonic() < end
            time.sleep(0.02)
        os.kill(os.getpid(), 2)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        next(iter(running))
    with pytest.raises(ProcessLookupError):
        os.kill(int(begun.read_text()), 0)


def test_an_unknown_executor_is_one_sentence() -> None:
    with pytest.raises(StudyError, match="unknown executor 'rai': known are local, ray; did you mean ray"):
        executor_of("rai", Settings())


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("somewhere", "'somewhere' is no address of a Ray cluster: write HOST:PORT, auto or local"),
        ("127.0.0.1:9", "there is no Ray cluster at 127.0.0.1:9 (.*): start one with `ray start --head`"),
    ],
)
def test_a_cluster_that_is_not_there_is_refused_at_once(
    address: str, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    with pytest.raises(StudyError, match=error.replace("(.*)", r"\(.*\)")):
        executor_of("ray", Settings(address=address)).check()


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StudyError, match=r"need ray: pip install 'kswap\[ray\]'"):
        executor_of("ray", Settings()).check()
