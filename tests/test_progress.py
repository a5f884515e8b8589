"""The one progress bar: silent without a terminal, and moving with the work on one."""

from __future__ import annotations

import pytest

from kswap.progress import progress_bar


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
