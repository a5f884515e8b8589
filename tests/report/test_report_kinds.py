"""A report of low-rank blocks in every format: nothing in it assumes K and L."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest
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
    assert (row.kind, row.rank, row.k, row.short()) == ("low-rank", 7, None, "rank 7")
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
    for words in ("Interleave</b>", "Reduce</b>"):
        assert words in both
    assert "Reduce</b>" not in grouped
    assert "K 72x4+32" not in text_of(replace(low_rank, sites=low_rank.sites[:1]), "md")


def test_a_diff_of_two_kinds_names_what_differs(low_rank: Report, sample_report: Report) -> None:
    diff = diff_reports(sample_report, low_rank)
    change = next(change for change in diff.changed if change.name == "blocks.6.0.conv_pwl")
    assert {"kind", "k", "l", "rank"} <= set(change.fields)
    assert "`K 72x4+32 i20 L 20x16` | `rank 7`" in text_of(diff, "md")


@pytest.mark.parametrize("change", [{"kind": "magic"}, {"kind": "low-rank"}, {"kind": []}, {"k": None}, {"rank": "x"}])
def test_a_site_whose_kind_and_layout_do_not_fit_is_refused(sample_report: Report, change: dict[str, object]) -> None:
    data = sample_report.to_json()
    site = next(site for site in data["sites"] if site["action"] == "replace")
    site |= change
    with pytest.raises(ReportError, match="not a kswap report"):
        Report.from_json(data)
