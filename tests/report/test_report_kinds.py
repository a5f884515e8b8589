"""A report of low-rank blocks in every format: nothing in it assumes K and L."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_fixture import efficientnet_plan
from rich.console import Console

from kswap.errors import ReportError
from kswap.planner import BlockSettings, plan_block
from kswap.report.diff import diff_reports
from kswap.report.renderers import render, text_of
from kswap.report.report import Report, report_of


@pytest.fixture(scope="module")
def low_rank() -> Report:
    """EfficientNet-B0 with low-rank blocks where the papers have grouped ones; its first site stays grouped."""
    plan = efficientnet_plan("efficientnet_b0", 1.0, 1.0, 224, 16)
    changed = []
    for site in plan.sites:
        settings = BlockSettings(kind="low-rank", ch=16)
        layer = plan_block(site.site.in_channels, site.site.out_channels, settings)
        if site.replaced and site.name != "conv_head" and layer.replaces:
            site = replace(site, layer=layer, placement="linear", reason=layer.reason)
        changed.append(site)
    return report_of(replace(plan, sites=tuple(changed)))


def test_every_text_shows_the_rank(low_rank: Report) -> None:
    row = next(row for row in low_rank.sites if row.name == "blocks.6.0.conv_pwl")
    data = row.to_json()
    assert (row.kind, data["rank"], data["k"], row.short()) == ("low-rank", 7, None, "rank 7")
    for format_ in ("md", "html"):
        assert "rank 7" in text_of(low_rank, format_)
    console = Console(file=io.StringIO(), width=100)
    render(low_rank, "rich", console)
    assert "1152->320 rank 7" in console.file.getvalue()
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(text_of(low_rank, "csv")))}
    assert (rows["blocks.6.0.conv_pwl"]["kind"], rows["blocks.6.0.conv_pwl"]["rank"]) == ("low-rank", "7")
    assert (rows["blocks.6.0.conv_pwl"]["k_groups"], rows["conv_head"]["k_groups"]) == ("", "20")


def test_json_is_read_again(low_rank: Report) -> None:
    assert Report.from_json(json.loads(text_of(low_rank, "json"))) == low_rank


def test_html_explains_the_kinds_that_are_there(low_rank: Report, sample_report: Report) -> None:
    both, grouped = text_of(low_rank, "html"), text_of(sample_report, "html")
    for words in ("<b>K, grouped pointwise convolution</b>", "<b>Reduce, pointwise convolution</b>"):
        assert words in both
    assert "<b>Reduce" not in grouped
    assert "K 72x4+32" not in text_of(replace(low_rank, sites=low_rank.sites[:1]), "md")


def test_a_diff_of_two_kinds_names_what_differs(low_rank: Report, sample_report: Report) -> None:
    diff = diff_reports(sample_report, low_rank)
    change = next(change for change in diff.changed if change.name == "blocks.6.0.conv_pwl")
    assert {"kind", "k", "l", "rank"} <= set(change.fields)
    assert "`K 72x4+32 i20 L 20x16` | `rank 7`" in text_of(diff, "md")


@pytest.mark.parametrize(
    "change", [{"kind": "magic"}, {"kind": "low-rank"}, {"kind": []}, {"k": None}, {"k": 3}, {"ch": "x"}]
)
def test_a_site_whose_kind_and_layout_do_not_fit_is_refused(sample_report: Report, change: dict[str, object]) -> None:
    data = sample_report.to_json()
    site = next(site for site in data["sites"] if site["action"] == "replace")
    site |= change
    with pytest.raises(ReportError, match=r"site \d+ of the report"):
        Report.from_json(data)


def test_a_report_of_the_first_version_is_read() -> None:
    """Before there were kinds, a site had no kind, rank or sum."""
    file = Path(__file__).parents[1] / "data" / "saved_by_0_1_0" / "test_efficientnet" / "report.json"
    data = json.loads(file.read_text())
    assert "kind" not in data["sites"][0]
    report = Report.from_json(data)
    assert [row.short() for row in report.replaced]
    for row, site in zip(report.sites, data["sites"], strict=True):
        assert row.to_json() == row.to_json() | site


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_a_damaged_report_is_one_sentence(data: st.DataObject) -> None:
    file = Path(__file__).parents[1] / "data" / "saved_by_0_1_0" / "test_efficientnet" / "report.json"
    report = json.loads(file.read_text())
    values = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2)
    value = data.draw(values | st.just({}) | st.just("9" * 5000) | st.just(10**400))
    site = data.draw(st.sampled_from([report, *report["sites"], report["params"]]))
    site[data.draw(st.sampled_from(sorted(site)))] = value
    try:
        read = Report.from_json(report)
    except ReportError as error:
        message = str(error)
    else:
        message = text_of(read, "csv")[:10]
    assert len(message) < 500
