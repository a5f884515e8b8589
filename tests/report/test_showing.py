"""Reports and comparisons as they show themselves in Python."""

from __future__ import annotations

import io
import sys

import pytest
from html_reader import read
from report_fixture import HOSTILE
from rich.console import Console

from kswap.errors import ReportError
from kswap.report.diff import diff_reports
from kswap.report.renderers import render, text_of
from kswap.report.report import Report


def printed(value: object, terminal: bool, width: int, monkeypatch: pytest.MonkeyPatch) -> str:
    class Screen(io.StringIO):
        encoding = "utf-8"

        def isatty(self) -> bool:
            return terminal

    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    print(value)
    return screen.getvalue()


def test_print_shows_what_the_command_line_shows(
    sample_report: Report, other_report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in (sample_report, diff_reports(sample_report, other_report)):
        console = Console(file=io.StringIO(), width=90)
        render(value, "rich", console)
        text = printed(value, False, 90, monkeypatch)
        assert text.rstrip() == console.file.getvalue().rstrip()
        assert text.isascii()
        assert "\x1b" not in text
        coloured = printed(value, True, 90, monkeypatch)
        assert "\x1b[" in coloured
        assert "→" in coloured


def test_texts(sample_report: Report) -> None:
    assert sample_report.to_markdown() == text_of(sample_report, "md")
    assert sample_report.to_html() == text_of(sample_report, "html")


def test_a_notebook_shows_totals_and_folded_sites(sample_report: Report, other_report: Report) -> None:
    fragment = sample_report._repr_html_()
    for text in ("623,226", "15.5%", "K 72x4+32 i20 L 20x16", "Replaced: 55 sites", "Kept: 9 sites", "<details>"):
        assert text in fragment
    difference = diff_reports(sample_report, other_report)._repr_html_()
    for text in ("+327,424", "Changed: ", "ch</td>"):
        assert text in difference
    assert len(fragment) < 40_000


def test_a_notebook_is_safe(sample_report: Report, hostile_report: Report) -> None:
    for value in (hostile_report, diff_reports(sample_report, hostile_report)):
        fragment = value._repr_html_()
        assert "<script" not in fragment
        assert "<style" not in fragment
        assert "\x1b" not in fragment
        assert "&lt;script&gt;" in fragment
        assert not read(fragment).all("script")
    assert HOSTILE not in hostile_report._repr_html_()


def test_a_data_frame_has_a_row_per_site(sample_report: Report, other_report: Report) -> None:
    frame = sample_report.to_dataframe()
    assert frame.params_after.sum() == sum(row.params_after for row in sample_report.sites)
    assert frame.set_index("name").loc["conv_head", "k_groups"] == 20
    assert list(frame.name) == [row.name for row in sample_report.sites]
    changes = diff_reports(sample_report, other_report).to_dataframe()
    assert {"total", "changed", "setting"} <= set(changes.kind)


def test_without_pandas_it_says_how_to_install_it(sample_report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ReportError, match="a data frame needs pandas: pip install pandas"):
        sample_report.to_dataframe()
