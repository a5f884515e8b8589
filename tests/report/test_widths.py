"""No number is ever cropped, at any width, on a terminal or in a pipe; in a pipe no name is either."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from report_fixture import efficientnet_report
from rich.console import Console

from kswap.model_table.table import ModelTable, read_table
from kswap.papers.tables import CheckedRow, CheckedTables, Figures, published_rows
from kswap.planner import plan_layer
from kswap.report.diff import diff_reports
from kswap.report.listing import Listing
from kswap.report.renderers import render
from kswap.report.report import Report
from kswap.report.wording import compact, signed

NUMBER = re.compile(r"[+-]?\d[\d,.]*[KMGT%]?")
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
WIDTHS = st.integers(20, 200)


def shown(value: object, width: int, terminal: bool) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system="truecolor")
    render(value, "rich", console)
    return ESCAPE.sub("", console.file.getvalue())


def numbers(text: str) -> set[str]:
    return {found.strip(".,") for found in NUMBER.findall(text)}


def lettered(report: Report) -> Report:
    """The report with site names that hold no digits, so that a cropped name makes no number."""

    def name(index: int) -> str:
        return "encoder.layer." + "".join(chr(ord("a") + int(digit)) for digit in f"{index:03}") + ".conv"

    return replace(report, sites=tuple(replace(row, name=name(i)) for i, row in enumerate(report.sites)))


SMALL, LARGE = (
    lettered(efficientnet_report("small", 1.0, 1.0, 224)),
    lettered(efficientnet_report("large", 2.0, 3.1, 600)),
)
DIFF = diff_reports(SMALL, LARGE)


def whole_numbers(value: object, *exact: int) -> set[str]:
    """The numbers that may be shown: those of a console without limits, and ``exact`` ones in short."""
    known = numbers(shown(value, 10_000, True)) | numbers(shown(value, 10_000, False))
    return known | {compact(number) for number in exact} | {f"+{compact(number)}" for number in exact}


@functools.cache
def numbers_of_report() -> set[str]:
    return whole_numbers(LARGE, *(n for change in LARGE.totals.values() for n in (change.before, change.after)))


@functools.cache
def numbers_of_diff() -> set[str]:
    changes = [*DIFF.totals.values(), *DIFF.originals.values(), DIFF.outside]
    return whole_numbers(DIFF, *(n for c in changes for n in (c.before, c.after, c.after - c.before)))


@settings(deadline=None, max_examples=40)
@given(width=WIDTHS, terminal=st.booleans())
@example(width=60, terminal=True)
@example(width=80, terminal=False)
def test_report(width: int, terminal: bool) -> None:
    totals = LARGE.totals.values()
    text = shown(LARGE, width, terminal)
    assert numbers(text) <= numbers_of_report()
    for change in totals:
        assert any(f"{form(change.after)} " in text for form in ("{:,}".format, compact))
        assert terminal or f" {change.before:,} " in text
    if not terminal:
        assert all(f"{row.name} " in text for row in LARGE.replaced)


@settings(deadline=None, max_examples=40)
@given(width=WIDTHS, terminal=st.booleans())
@example(width=60, terminal=False)
@example(width=80, terminal=True)
def test_diff(width: int, terminal: bool) -> None:
    totals = [*DIFF.totals.values(), *DIFF.originals.values(), DIFF.outside]
    text = shown(DIFF, width, terminal)
    assert numbers(text) <= numbers_of_diff()
    for change in totals:
        assert terminal or f" {change.before:,} " in text
        assert terminal or f" {signed(change.after - change.before)} " in text
    if not terminal:
        assert all(f"{change.name} " in text for change in DIFF.changed)


@settings(deadline=None, max_examples=30)
@given(width=WIDTHS, terminal=st.booleans(), channels=st.integers(1, 5000), filters=st.integers(1, 5000))
@example(width=20, terminal=True, channels=1152, filters=320)
def test_layer(width: int, terminal: bool, channels: int, filters: int) -> None:
    plan = plan_layer(channels, filters, 16)
    assert numbers(shown(plan, width, terminal)) == numbers(shown(plan, 10_000, terminal))


@pytest.mark.parametrize("cut", [lambda text: text[:-1], lambda text: text[1:]])
def test_a_cropped_number_would_be_seen(cut: Callable[[str], str]) -> None:
    total = f"{LARGE.params.after:,}"
    assert not numbers(cut(total)) <= whole_numbers(LARGE)


LISTING = Listing(
    ("preset", "what it does"), (("no-sum", "the output is that of L alone, 1,234,567 times"),), "7,654,321"
)


@settings(deadline=None, max_examples=20)
@given(width=WIDTHS, terminal=st.booleans())
def test_listing(width: int, terminal: bool) -> None:
    assert numbers(shown(LISTING, width, terminal)) == {"1,234,567", "7,654,321"}


@settings(deadline=None, max_examples=20)
@given(width=WIDTHS, terminal=st.booleans())
@example(width=20, terminal=True)
@example(width=40, terminal=False)
def test_models(width: int, terminal: bool) -> None:
    rows = tuple(row for name, row in read_table().items() if name.startswith("efficientnet_b"))
    table = ModelTable(
        tuple(replace(row, name="model-" + "abcdefghijklmnopqrstuvwxyz"[i]) for i, row in enumerate(rows))
    )
    text = shown(table, width, terminal)
    assert numbers(text) <= numbers(shown(table, 10_000, True))
    for row in table.rows:
        assert terminal or f"{row.name} " in text
        assert terminal or f" {row.params:,} " in text


@settings(deadline=None, max_examples=20)
@given(width=WIDTHS, terminal=st.booleans())
@example(width=20, terminal=True)
@example(width=40, terminal=False)
def test_papers(width: int, terminal: bool) -> None:
    rows = tuple(CheckedRow(row, Figures(row.params, row.computations or 0)) for row in published_rows("2022 paper"))
    checked = CheckedTables(rows)
    text = shown(checked, width, terminal)
    assert {number for number in numbers(text) if "," in number} <= numbers(shown(checked, 10_000, terminal))
    for row in rows:
        assert terminal or f" {row.row.params:,} " in text
        assert terminal or f"{row.row.network} " in text
