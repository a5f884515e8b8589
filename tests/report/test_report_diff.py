"""Comparing two reports."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

from report_fixture import efficientnet_plan, efficientnet_report
from rich.console import Console

from kswap.report.diff import diff_reports
from kswap.report.diff_wording import summary
from kswap.report.renderers import render, text_of
from kswap.report.report import Report, report_of


def shown(first: Report, second: Report, width: int = 80, terminal: bool | None = None) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    render(diff_reports(first, second), "rich", console)
    return console.file.getvalue()


def test_a_report_is_the_same_as_itself(sample_report: Report) -> None:
    diff = diff_reports(sample_report, sample_report)
    assert diff.same
    assert diff.unchanged == 64
    assert summary(diff) == "no differences (64 sites compared)"
    assert "no differences (64 sites compared)" in shown(sample_report, sample_report)
    assert "no differences" in text_of(diff, "md")
    assert "no differences" in text_of(diff, "html")
    assert {row["kind"] for row in csv.DictReader(io.StringIO(text_of(diff, "csv")))} == {"total", "original"}


def test_totals_compare_the_converted_models(sample_report: Report, other_report: Report) -> None:
    diff = diff_reports(sample_report, other_report)
    assert (diff.totals["params"].before, diff.totals["params"].after) == (623_226, 950_650)
    assert diff.same_originals
    assert diff.to_json()["totals"]["params"] == {
        "before": 623_226,
        "after": 950_650,
        "ratio": round(950_650 / 623_226, 6),
        "delta": 327_424,
    }
    row = next(line for line in shown(sample_report, other_report).splitlines() if line.startswith("parameters"))
    assert row.split() == ["parameters", "623,226", "950,650", "+327,424", "152.5%"]


def test_settings_that_differ(sample_report: Report) -> None:
    other = replace(sample_report, model="other", rules="", input_size=(3, 32, 32), kswap="9.9", drop_in=False)
    diff = diff_reports(sample_report, other)
    assert {(s.name, s.before, s.after) for s in diff.settings} == {
        ("model", "efficientnet_b0", "other"),
        ("rules", "keffnet-v2", "none"),
        ("input", "3x224x224", "3x32x32"),
        ("kswap", sample_report.kswap, "9.9"),
        ("drop-in", "yes", "no"),
    }
    assert not diff.changed
    assert not diff.same
    assert "  rules   keffnet-v2 -> none" in shown(sample_report, other)


def test_another_ch_alone_does_not_change_a_kept_site(sample_report: Report, other_report: Report) -> None:
    diff = diff_reports(sample_report, other_report)
    changed = {change.name for change in diff.changed}
    assert "blocks.0.0.se.conv_reduce" not in changed  # kept by both, for reasons with other numbers
    assert len(changed) + diff.unchanged == 64
    pw = next(change for change in diff.changed if change.name == "blocks.1.1.conv_pw")
    assert pw.fields == ("action", "k", "sum", "params_after")
    assert (pw.before.action, pw.after.action) == ("replace", "keep")


def test_sites_of_only_one_report(sample_report: Report) -> None:
    other = replace(
        sample_report,
        sites=(*sample_report.sites[:-1], replace(sample_report.sites[-1], name="head.conv")),
    )
    diff = diff_reports(sample_report, other)
    assert [row.name for row in diff.only_before] == ["conv_head"]
    assert [row.name for row in diff.only_after] == ["head.conv"]
    assert diff.unchanged == 63
    text = shown(sample_report, other)
    assert "Only in the first (1)\n    conv_head\n" in text
    assert "Only in the second (1)\n    head.conv\n" in text
    markdown = text_of(diff, "md")
    assert "Only in the first: 1 site</summary>" in markdown
    assert "- `head.conv`" in markdown


def test_a_change_that_the_plan_does_not_show_is_named(sample_report: Report) -> None:
    head = replace(sample_report.sites[-1], activation="relu")
    other = replace(sample_report, sites=(*sample_report.sites[:-1], head))
    diff = diff_reports(sample_report, other)
    assert [change.fields for change in diff.changed] == [("activation",)]
    assert "K 20x64, other activation" in shown(sample_report, other)
    assert "`K 20x64, other activation`" in text_of(diff, "md")


def test_placement_counts_only_where_a_site_is_replaced(sample_report: Report) -> None:
    linear = replace(sample_report, sites=tuple(replace(row, placement="linear") for row in sample_report.sites))
    diff = diff_reports(sample_report, linear)
    assert {change.name for change in diff.changed} == {row.name for row in sample_report.replaced}


def test_originals_are_shown_when_they_differ(sample_report: Report) -> None:
    other = efficientnet_report("efficientnet_b1", 1.0, 1.1, 240)
    text = shown(sample_report, other)
    assert text.startswith("efficientnet_b0 -> efficientnet_b1\n")
    assert "parameters, original" in text
    assert "parameters, original" not in shown(sample_report, replace(sample_report, ch=3))


def test_terminal_fits_and_is_ascii(sample_report: Report, big_report: Report, hostile_report: Report) -> None:
    without = report_of(efficientnet_plan("no second layer", 2.0, 3.1, 600, 16, second_layer=False))
    for first, second in ((big_report, without), (sample_report, hostile_report)):
        for width in (80, 160):
            assert shown(first, second, width).isascii()
            assert max(map(len, shown(first, second, width, terminal=True).splitlines())) <= width


def test_json_and_csv_hold_the_changes(sample_report: Report, other_report: Report) -> None:
    diff = diff_reports(sample_report, other_report)
    data = json.loads(json.dumps(diff.to_json()))
    assert len(data["changed"]) == len(diff.changed)
    assert data["settings"] == [{"setting": "ch", "before": "16", "after": "32"}]
    rows = list(csv.DictReader(io.StringIO(text_of(diff, "csv"))))
    assert {"kind": "setting", "name": "ch", "field": "", "before": "16", "after": "32"} in rows
    assert {
        "kind": "changed",
        "name": "blocks.6.0.conv_pwl",
        "field": "k_groups",
        "before": "72",
        "after": "36",
    } in rows


def test_markdown_and_html_name_every_changed_site(sample_report: Report, other_report: Report) -> None:
    diff = diff_reports(sample_report, other_report)
    markdown, html = text_of(diff, "md"), text_of(diff, "html")
    assert "| `blocks.6.0.conv_pwl` | `K 72x4+32 i20 L 20x16` | `K 36x8+32 i10 L 10x32` |" in markdown
    for change in diff.changed:
        assert f"`{change.name}`" in markdown
        assert change.name.replace(".", ".<wbr>") in html


def test_a_long_comparison_ends_with_what_it_comes_to(sample_report: Report, other_report: Report) -> None:
    lines = shown(sample_report, other_report).splitlines()
    assert lines[-1].startswith("efficientnet_b0: 623,226 and 950,650 parameters (152.5%), ")
    assert lines[-1].endswith(f"MACs ({other_report.macs.after / sample_report.macs.after:.1%}), {lines[1]}")
    assert "efficientnet_b0: " not in shown(sample_report, sample_report)
