"""The one progress bar: silent without a terminal, and moving with the work on one."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from torch import nn

import kswap
from kswap import progress
from kswap.cli.main import main
from kswap.cli.options import CONVERT_STEPS, LOAD_STEPS, PLAN_STEPS
from kswap.progress import progress_bar, step, steps


def test_nothing_is_drawn_without_a_terminal_and_lines_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("reading", 2) as bar:
        bar.advance(note="half")
        bar.label("writing")
        bar.log("a fault in [b]one[/b]")
    assert capsys.readouterr() == ("", "a fault in [b]one[/b]\n")


@pytest.mark.parametrize("steady", [True, False])
def test_every_step_is_drawn_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, steady: bool
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_INTERACTIVE", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress_bar("reading [x]", 3, steady=steady) as bar:
        for note in ("one", "two", "three"):
            bar.advance(note=note)
    written = capsys.readouterr()
    assert written.out == ""
    for text in ("reading [x]", "1/3", "one", "2/3", "two", "3/3", "three"):
        assert text in written.err
    with progress_bar("reading", 3, shown=False) as bar:
        bar.advance()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("dry", "count"), [(True, PLAN_STEPS), (False, CONVERT_STEPS)])
def test_a_conversion_says_each_of_its_steps(dry: bool, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(progress.StepBar, "step", lambda self, name: said.append(name))
    more = ["--dry-run"] if dry else []
    done = CliRunner().invoke(main, ["convert", "test_resnet", "--ch", "8", "--input-size", "32", *more])
    assert done.exit_code == 0
    assert said[:2] == ["loading torch", "building the original"]
    assert len(said) == count


def test_loading_says_each_of_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.Conv2d(32, 64, 1), nn.ReLU(), nn.Conv2d(64, 8, 3))
    place = kswap.convert(model, ch=4, input_size=(8, 8), seed=0).save(tmp_path / "small")
    said: list[str] = []
    monkeypatch.setattr(progress.StepBar, "step", lambda self, name: said.append(name))
    with steps("loading", LOAD_STEPS):
        step("loading torch")
        kswap.load(place, model=model)
    assert len(said) == LOAD_STEPS


def test_steps_move_the_bar_and_never_past_its_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("FORCE_COLOR", "1"), ("TTY_INTERACTIVE", "1"), ("TERM", "xterm"), ("COLUMNS", "120")):
        monkeypatch.setenv(name, value)
    step("unheard")
    with steps("converting", 2):
        for name in ("tracing", "planning", "checking", "once more"):
            step(name)
    step("unheard")
    written = capsys.readouterr().err
    assert "converting: planning" in written
    assert "2/2" in written
    assert "3/2" not in written
    assert "unheard" not in written
