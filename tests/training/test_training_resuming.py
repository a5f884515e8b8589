"""A training that is killed at any moment goes on where it was, to the same weights."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import started
from training_fixture import QUICK, classes, trained, weights_of
from transfer_fixture import same

import kswap
from kswap.errors import TrainingError
from kswap.training.loop import Loop
from kswap.training.record import Training

# All that has a state: optimizer, moving average, scaler, and everything that draws random numbers.
EVERYTHING: dict[str, Any] = {
    **QUICK,
    "epochs": 8,
    "optimizer": "rmsprop",
    "optimizer_options": {"alpha": 0.9, "eps": 1e-7},
    "lr": 1e-3,
    "schedule": {"name": "cycle", "period": 3, "rise": 0.5, "rise_epochs": 2, "decay": 0.8},
    "augment": {"rotation": 20, "shift": 0.3, "zoom": 0.3, "flip": "random"},
    "mixup": 0.2,
    "ema": 0.9,
    "clip_grad": 1.0,
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return classes(tmp_path / "pictures", train=8, test=2)


def everything(data: Path, out: Path | None, **arguments: Any) -> Training:
    return trained(data, **{"recipe": EVERYTHING, "out": out, "amp": "fp16", "checkpoint_seconds": 0.0, **arguments})


def killed(data: Path, out: Path) -> None:
    """A run that is killed at a random moment after its first step."""
    process = started(everything, data, out)
    try:
        checkpoint = out.with_name("done.training") / "checkpoint.pt"
        while not checkpoint.exists():
            assert process.is_alive()
            time.sleep(0.005)
        time.sleep(random.random() * 0.2)
    finally:
        process.kill()
        process.join()


def test_a_run_that_was_killed_ends_with_the_weights_of_one_that_was_not(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "done"
    for _ in range(3):
        killed(data, out)
        assert not out.exists()
    undisturbed = everything(data, None)
    begun = torch.load(tmp_path / "done.training" / "checkpoint.pt", weights_only=True)["state"]["step"]
    assert begun > 0
    own, steps = Loop._step, []
    monkeypatch.setattr(Loop, "_step", lambda loop: (steps.append(loop.state.step), own(loop))[1])
    continued = everything(data, out)
    assert steps == list(range(begun, 32))
    assert same(weights_of(continued), weights_of(undisturbed))
    assert same(kswap.load(out).model.state_dict(), weights_of(undisturbed))
    assert continued.record.measured == undisturbed.record.measured
    assert not (tmp_path / "done.training").exists()


def stopped(data: Path, out: Path, monkeypatch: pytest.MonkeyPatch, step: int, **arguments: Any) -> None:
    """A run that is stopped before a step."""
    own = Loop._step

    def until(loop: Loop) -> None:
        if loop.state.step == step:
            raise KeyboardInterrupt
        own(loop)

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "_step", until)
        with pytest.raises(KeyboardInterrupt):
            everything(data, out, **arguments)


def test_a_run_that_timm_augments_picture_by_picture(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = {**QUICK, "epochs": 3, "augment": {"crop_least": 0.4, "policy": "rand-m6-mstd0.5", "erase": 0.5}}
    for step in (0, 1, 7):
        stopped(data, tmp_path / "done", monkeypatch, step, recipe=recipe)
    undisturbed, continued = (everything(data, out, recipe=recipe) for out in (None, tmp_path / "done"))
    assert same(weights_of(continued), weights_of(undisturbed))


def test_other_settings_do_not_continue_a_run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(data, tmp_path / "done", monkeypatch, 3)
    with pytest.raises(TrainingError, match=r"holds an unfinished run with other settings \(seed: 0, now 1\)"):
        everything(data, tmp_path / "done", seed=1)
    recipe = {**QUICK, "epochs": 1}
    assert everything(data, tmp_path / "done", recipe=recipe, resume=False).record.images == 24
