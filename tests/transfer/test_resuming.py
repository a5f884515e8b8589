"""A distillation that is killed at any moment goes on where it was, to the same weights."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from transfer_fixture import QUICK, same, student, teacher, unlabelled, weights_of

import kswap
from kswap.errors import TrainingError
from kswap.transfer.record import Distillation

IMAGES = 80
SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = {tests!r}
import torch
torch.set_num_threads(1)
from test_resuming import distilled
print("ready", flush=True)
distilled(Path({data!r}), Path({out!r}), augment={augment!r})
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return unlabelled(tmp_path / "pictures", 30)


def distilled(data: Path, out: Path | None, augment: str = "none", **arguments: Any) -> Distillation:
    recipe = {**vars(QUICK), "augment": augment, "evaluations": 4}
    return kswap.distill(
        student(),
        teacher(),
        data,
        **{"images": IMAGES, "recipe": recipe, "out": out, "progress": False, "checkpoint_seconds": 0.0, **arguments},
    )


def test_a_run_that_was_killed_ends_with_the_weights_of_one_that_was_not(data: Path, tmp_path: Path) -> None:
    augment = "crop-flip"  # draws random numbers
    out = tmp_path / "done"
    script = SCRIPT.format(
        tests=[str(Path(__file__).parent), str(Path(__file__).parents[1])],
        data=str(data),
        out=str(out),
        augment=augment,
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        checkpoint = tmp_path / "done.distilling" / "checkpoint.pt"
        while not checkpoint.exists():  # the first step is done
            assert process.poll() is None
            time.sleep(0.005)
        time.sleep(random.random() * 0.2)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not out.exists()
    undisturbed = distilled(data, None, augment)
    assert same(weights_of(distilled(data, out, augment).conversion), weights_of(undisturbed.conversion))
    assert same(weights_of(kswap.load(out)), weights_of(undisturbed.conversion))
    assert not (tmp_path / "done.distilling").exists()


def stopped(data: Path, out: Path, monkeypatch: pytest.MonkeyPatch, step: int, **arguments: Any) -> None:
    """A run that is stopped before a step."""
    from kswap.training.loop import Loop

    own = Loop._step

    def until(loop: Loop) -> float:
        if loop.state.step == step:
            raise KeyboardInterrupt
        return own(loop)

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "_step", until)
        with pytest.raises(KeyboardInterrupt):
            distilled(data, out, **arguments)


def test_a_run_that_was_stopped_before_several_steps(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "done"
    for step in (0, 1, 5, 19):  # of 20; accuracy and loss are noted after 5, 10, 15 and 20
        stopped(data, out, monkeypatch, step)
    undisturbed = distilled(data, None)
    continued = distilled(data, out)
    assert same(weights_of(continued.conversion), weights_of(undisturbed.conversion))
    assert continued.losses == undisturbed.losses


def test_other_settings_do_not_continue_a_run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "done"
    stopped(data, out, monkeypatch, 3)
    with pytest.raises(
        TrainingError, match=r"holds an unfinished run with other settings \(seed: 0, now 1\): pass res"
    ):
        distilled(data, out, seed=1)
    assert distilled(data, out, seed=1, resume=False).images == IMAGES


def test_a_damaged_checkpoint_is_one_sentence(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "done"
    stopped(data, out, monkeypatch, 3)
    checkpoint = tmp_path / "done.distilling" / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(TrainingError, match=r"is damaged .*: pass resume=False to start anew"):
        distilled(data, out)


def test_a_checkpoint_that_would_run_code_does_not(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    out = tmp_path / "done"
    stopped(data, out, monkeypatch, 3)
    torch.save({"task": Evil(tmp_path / "ran")}, tmp_path / "done.distilling" / "checkpoint.pt")
    with pytest.raises(TrainingError, match="is damaged"):
        distilled(data, out)
    assert not (tmp_path / "ran").exists()


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_two_processes_do_not_work_in_one_directory(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kswap.training.work import WorkDirectory

    out = tmp_path / "done"
    stopped(data, out, monkeypatch, 3)
    import json

    path = tmp_path / "done.distilling"
    with (
        WorkDirectory(path, json.loads((path / "settings.json").read_text())).opened(True),
        pytest.raises(TrainingError, match="another process works in"),
    ):
        distilled(data, out)


def test_files_of_others_are_left_alone(data: Path, tmp_path: Path) -> None:
    (tmp_path / "done.distilling").mkdir()
    (tmp_path / "done.distilling" / "thesis.txt").write_text("mine")
    with pytest.raises(TrainingError, match="holds files that are not of this run"):
        distilled(data, tmp_path / "done")
    assert (tmp_path / "done.distilling" / "thesis.txt").read_text() == "mine"
