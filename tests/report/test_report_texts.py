"""Markdown and CSV of a report."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from html import escape

import pytest
from markdown_it import MarkdownIt
from report_fixture import HOSTILE

from kswap.errors import visible
from kswap.report.csv_text import csv_cell, csv_text
from kswap.report.diff import diff_reports
from kswap.report.renderers import text_of
from kswap.report.report import Report
from kswap.report.report_csv import COLUMNS, render_csv
from kswap.report.report_markdown import render_markdown

UNESCAPED_PIPE = re.compile(r"(?<!\\)\|")


def tables(markdown: str) -> list[list[str]]:
    """Runs of lines that start with a pipe."""
    found: list[list[str]] = [[]]
    for line in markdown.splitlines():
        if line.startswith("|"):
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [table for table in found if table]


def test_markdown_has_the_totals_in_sight_and_the_sites_folded(sample_report: Report) -> None:
    text = render_markdown(sample_report)
    open_part, folded = text.split("<details>", 1)
    assert "| parameters | 4,020,358 | **623,226** | 15.5% | `███░" in open_part
    assert "rule 'transitions'" in open_part
    assert "**55 of 64 pointwise convolutions replaced, 9 kept.** Drop-in: yes" in open_part
    assert "| `blocks.6.0.conv_pwl` | 1152→320 | `K 72x4+32 i20 L 20x16` | 369,280 → 11,520 | 3.1% |" in folded
    assert text.count("<details>") == text.count("</details>") == 2


def test_markdown_names_every_site_and_every_reason(big_report: Report) -> None:
    text = render_markdown(big_report)
    for row in big_report.sites:
        assert f"`{row.name}`" in text
    for row in big_report.kept:
        assert f"| {row.reason} |" in text


def test_markdown_tables_have_even_rows(sample_report: Report, hostile_report: Report) -> None:
    for report in (sample_report, hostile_report):
        for table in tables(render_markdown(report)):
            assert len({len(UNESCAPED_PIPE.findall(line)) for line in table}) == 1


def test_markdown_shows_hostile_text_as_text(hostile_report: Report, sample_report: Report) -> None:
    reports = (render_markdown(hostile_report), text_of(diff_reports(sample_report, hostile_report), "md"))
    for text in reports:
        html = MarkdownIt("commonmark").enable("table").render(text)
        assert "\x1b" not in html
        assert "<script" not in html
        assert "<strong>x</strong>" not in html
        # One line, with spaces for its control characters, and otherwise unchanged.
        assert escape(HOSTILE.replace("\x1b", " ").replace("\n", " "), quote=False) in html


def test_csv_has_a_row_a_site_and_every_field(sample_report: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(render_csv(sample_report))))
    assert [row["name"] for row in rows] == [site.name for site in sample_report.sites]
    assert tuple(rows[0]) == COLUMNS
    long = ("k", "l", "reads", "writes")  # layouts have columns of their own, and orders are no cells
    plain = [key for key in sample_report.sites[0].to_json() if key not in long]
    assert set(plain) < set(COLUMNS)
    by_name = {row["name"]: row for row in rows}
    pwl = by_name["blocks.6.0.conv_pwl"]
    layouts = [pwl[key] for key in ("k_groups", "k_filters_per_group", "k_extra_groups", "l_groups")]
    assert layouts == ["72", "4", "32", "20"]
    assert (pwl["params_before"], pwl["params_after"], pwl["interleave_step"]) == ("369280", "11520", "20")
    kept = by_name["blocks.0.0.conv_pw"]
    assert kept["k_groups"] == kept["l_groups"] == kept["interleave_step"] == kept["activation"] == ""
    assert kept["reason"] == "kept by rule 'first block': too few channels to lose any"


def test_csv_survives_any_name(hostile_report: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(render_csv(hostile_report), newline="")))
    assert rows[0]["name"] == visible(HOSTILE)
    assert len(rows) == len(hostile_report.sites)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", "＝"])
def test_csv_holds_no_formula_and_no_escape(hostile_report: Report, sample_report: Report, start: str) -> None:
    name = f"{start}HYPERLINK(\x1b[31m)"
    sites = (replace(hostile_report.sites[0], name=name, reason=name), *hostile_report.sites[1:])
    report = replace(hostile_report, model=name, sites=sites)
    for value in (report, diff_reports(sample_report, report)):
        text = text_of(value, "csv")
        assert text.replace("\n", "").isprintable()
        cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
        assert any("HYPERLINK" in cell for cell in cells)
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "＝"))]


def test_numbers_of_a_csv_stay_numbers() -> None:
    assert csv_text(["a", "b", "c"], [{"a": -3, "b": -0.5, "c": "-1,200"}]) == 'a,b,c\n-3,-0.5,"-1,200"\n'
    assert csv_cell("-1+1") == "'-1+1"
