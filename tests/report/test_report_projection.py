"""What reports say of weights that were carried over: the error at each site, and accuracies."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from html_reader import read
from report_fixture import HOSTILE, efficientnet_plan, efficientnet_report
from rich.console import Console

from kswap.errors import ReportError, visible
from kswap.report.diff import diff_reports
from kswap.report.markdown import prose
from kswap.report.projection import Accuracy, ProjectionRecord, SiteError
from kswap.report.renderers import formats_of, render, text_of
from kswap.report.report import Report, report_of
from kswap.saved.reading import read_report

FIXTURE = Path(__file__).parents[1] / "data" / "saved_by_0_1_0" / "test_efficientnet"
NUMBER = re.compile(r"[+-]?\d[\d,.]*[KMGT%]?")


def projected(report: Report, step: float = 0.017, seed: int = 0) -> Report:
    """The report with errors at all replaced sites but the first, and three accuracies."""
    errors = tuple(SiteError(row.name, step * index) for index, row in enumerate(report.replaced[1:]))
    record = ProjectionRecord(320, seed, 20.04, errors).with_accuracy("original", 0.877, 1000, "pictures/val")
    linear = tuple(replace(row, placement="linear") for row in report.sites)
    record = record.with_accuracy("projected", 0.716 + seed / 100, 1000, "pictures/val")
    return replace(report, sites=linear, projection=record)


def shown(value: object, width: int = 160, terminal: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, no_color=True, highlight=False)
    render(value, "rich", console)
    return re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue())


def test_a_report_without_a_projection_says_nothing_of_it(sample_report: Report) -> None:
    assert sample_report.projection is None
    assert sample_report.to_json()["projection"] is None
    assert {site["fit_error"] for site in sample_report.to_json()["sites"]} == {None}
    for format_ in ("md", "html"):
        assert "Weights" not in text_of(sample_report, format_)
    assert "Weights" not in shown(sample_report)
    assert " error" not in shown(sample_report)


def test_json_holds_each_error_once_and_comes_back(sample_report: Report) -> None:
    report = projected(sample_report)
    data = json.loads(text_of(report, "json"))
    assert data["projection"] == {
        "images": 320,
        "seed": 0,
        "seconds": 20.04,
        "accuracies": [
            {"stage": "original", "top1": 0.877, "images": 1000, "data": "pictures/val"},
            {"stage": "projected", "top1": 0.716, "images": 1000, "data": "pictures/val"},
        ],
    }
    errors = {site["name"]: site["fit_error"] for site in data["sites"]}
    assert report.projection is not None
    assert {name: error for name, error in errors.items() if error is not None} == report.projection.by_name
    assert Report.from_json(data) == report


def test_report_of_and_with_projection_are_the_same() -> None:
    plan = efficientnet_plan("efficientnet_b0", 1.0, 1.0, 224, 16)
    record = ProjectionRecord(8, 1, 0.5, (SiteError("conv_head", 0.25),))
    report = report_of(plan, projection=record)
    assert report == report_of(plan).with_projection(record)
    assert report.with_projection(None) == report_of(plan)
    assert {row.name: row.fit_error for row in report.sites if row.fit_error is not None} == {"conv_head": 0.25}


def test_a_report_of_the_first_version_has_no_projection() -> None:
    report = read_report(FIXTURE)
    assert report.projection is None
    assert report.with_projection(ProjectionRecord(1, 0, 0.0, (SiteError(report.replaced[0].name, 0.5),)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["projection"].update(images=0), "images of the report must be between 1 and"),
        (lambda d: d["projection"].update(seed="0"), "seed of the report must be a whole number"),
        (lambda d: d["projection"].update(seconds=-1), "seconds of a projection must be a number from 0 on"),
        (lambda d: d["projection"].update(seconds=math.nan), "must be a finite number"),
        (lambda d: d["projection"]["accuracies"][0].update(top1=87.7), "accuracy of 'original' must be from 0 to 1"),
        (lambda d: d["projection"].update(accuracies=[1]), "must be a table, not 1"),
        (lambda d: d["projection"].pop("images"), "lacks images"),
        (lambda d: d.update(projection=[]), "projection of the report must be a table, not a list"),
        (lambda d: d["sites"][-1].update(fit_error="low"), "fit_error of site 64 of the report must be a number"),
        (lambda d: d["sites"][-1].update(fit_error=-1), "error at 'conv_head' must be a number from 0 on, not -1"),
        (lambda d: d["sites"][0].update(fit_error=0.5), r"error at 'blocks\.0\.0\.\S+', which is no replaced site"),
    ],
    ids=range(11),
)
def test_a_projection_that_cannot_be_is_one_sentence(
    sample_report: Report, change: Callable[[Any], None], message: str
) -> None:
    data = projected(sample_report).to_json()
    change(data)
    with pytest.raises(ReportError, match=message):
        Report.from_json(data)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SiteError("a", math.nan),
        lambda: SiteError("a", math.inf),
        lambda: Accuracy("a", 87.7, 10),
        lambda: Accuracy("a", math.nan, 10),
        lambda: Accuracy("a", 0.5, 0),
        lambda: ProjectionRecord(0, 0, 1.0),
        lambda: ProjectionRecord(1, 0, math.inf),
        lambda: efficientnet_report("x", 1.0, 1.0, 224).with_projection(
            ProjectionRecord(1, 0, 1.0, (SiteError("nowhere", 0.5),))
        ),
    ],
)
def test_values_check_themselves(make: Callable[[], object]) -> None:
    with pytest.raises(ReportError):
        make()


def test_accuracies_are_kept_in_the_order_of_the_stages() -> None:
    record = ProjectionRecord(8, 0, 1.0)
    for stage, top1, data in (("original", 0.9, "a"), ("original", 0.8, "b"), ("distilled", 0.7, "a")):
        record = record.with_accuracy(stage, top1, 100, data)
    assert [(a.stage, a.top1, a.data) for a in record.with_accuracy("distilled", 0.75, 100, "a").accuracies] == [
        ("original", 0.9, "a"),
        ("original", 0.8, "b"),
        ("distilled", 0.75, "a"),
    ]


def test_a_pipe_shows_every_error_and_every_accuracy(sample_report: Report) -> None:
    report = projected(sample_report)
    for width in (40, 80, 160):
        text = shown(report, width)
        assert text.isascii()
        lines = text.split("\nReplaced\n")[1].split("\n\n")[0].splitlines()
        assert "error" in lines[0].split()
        for line, row in zip(lines[2:], report.replaced, strict=True):
            error = "-" if row.fit_error is None else "<0.001" if 0 < row.fit_error < 5e-4 else f"{row.fit_error:.3f}"
            assert error in line.split()[5:]
        assert re.search(r"(?m)^projected +71\.6% +1\.4% +1,000 +pictures/val$", text)
    assert "on 320 images (seed 0, 20.0 seconds)" in text
    assert "Error over 54 sites: mean 0.451, largest 0.901 at conv_head" in text
    assert "fraction of variance unexplained" in text


def test_why_placement_is_linear(sample_report: Report) -> None:
    report = projected(sample_report)
    for text in (shown(report, 400), text_of(report, "md"), text_of(report, "html")):
        assert "Placement is linear at 54 of 54 fitted sites: norm and activation come after the block, because" in text
        assert "inside the block at" not in text
    inside = tuple(replace(row, placement="absorbed") if row.name == "conv_head" else row for row in report.sites)
    mixed = shown(replace(report, sites=inside), 400)
    assert "Placement is linear at 53 of 54 fitted sites" in mixed
    assert "Norm and activation are inside the block at 1 site: conv_head." in mixed


def numbers(text: str) -> set[str]:
    return {number.strip(".,") for number in NUMBER.findall(text)}


@pytest.mark.parametrize("terminal", [True, False])
def test_no_number_is_cropped(terminal: bool) -> None:
    plain = efficientnet_report("small", 1.0, 1.0, 224)
    plain = replace(plain, sites=tuple(replace(row, name=letters(i)) for i, row in enumerate(plain.sites)))
    for value in (projected(plain), diff_reports(projected(plain), projected(plain, 0.011, 1))):
        whole = numbers(shown(value, 10_000, terminal))
        for width in (20, 33, 48, 60, 80, 100):
            found = numbers(shown(value, width, terminal))
            # Totals are written in short where they do not fit.
            assert {n for n in found if "." in n and n[-1] not in "KM"} <= whole
            assert terminal or {n for n in whole if n.startswith("0.")} <= found


def letters(index: int) -> str:
    return "stage." + "".join(chr(ord("a") + int(digit)) for digit in f"{index:03}") + ".conv"


def test_markdown_and_csv(sample_report: Report) -> None:
    report = projected(sample_report)
    text = text_of(report, "md")
    assert "| projected | 71.6% | 1.4% | 1,000 | pictures/val |" in text.split("<details>")[0]
    assert re.search(r"\| `conv_head` \| 320→1280 .* \| 0\.901 \|\n", text)
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(text_of(report, "csv")))}
    assert float(rows["conv_head"]["fit_error"]) == report.sites[-1].fit_error
    assert rows["blocks.0.0.conv_pw"]["fit_error"] == ""


def test_html_shades_each_error(sample_report: Report) -> None:
    report = projected(sample_report, 0.02)
    text = text_of(report, "html")
    assert '<span class="shade beyond" style="background-size:100.0% 100%">1.060</span>' in text
    assert '<span class="shade" style="background-size:2.0% 100%">0.020</span>' in text
    without = [row for row in report.sites if row.fit_error is None]
    assert text.count('<td class="num fitted" data-v="-1">-</td>') == len(without) > len(report.kept)
    assert "<b>71.6%</b>" in text
    assert 'class="num fitted"' not in text_of(sample_report, "html")


@pytest.mark.parametrize("format_", formats_of("report"))
def test_hostile_stages_and_data_are_shown_as_text(hostile_report: Report, format_: str) -> None:
    record = ProjectionRecord(1, 0, 1.0).with_accuracy(HOSTILE, 0.5, 10, HOSTILE)
    report = hostile_report.with_projection(record)
    for value in (report, diff_reports(hostile_report, report)):
        text = shown(value) if format_ == "rich" else text_of(value, format_)
        assert text.replace("\n", "").isprintable()
        if format_ == "rich":
            assert visible(HOSTILE) in text
        if format_ == "md":
            assert prose(HOSTILE).replace("|", "\\|") in text
        if format_ == "html":
            assert visible(HOSTILE) in "".join(read(text).texts)
            assert "alert(1)</script>" not in text


def test_a_diff_shows_errors_and_accuracies_before_and_after(sample_report: Report) -> None:
    first, second = projected(sample_report), projected(sample_report, 0.011, 1)
    diff = diff_reports(first, second)
    assert not diff.changed
    assert not diff.same
    assert [(s.name, s.before, s.after) for s in diff.settings] == [
        ("weights", "fitted on 320 images, seed 0", "fitted on 320 images, seed 1")
    ]
    text = shown(diff, 100)
    assert re.search(r"(?m)^projected +71\.6% +72\.6% +\+1\.0 +1,000 +pictures/val$", text)
    assert re.search(r"(?m)^conv_head +0\.901 +0\.583 +-0\.318$", text)
    assert "0 sites changed, 64 unchanged, 53 sites with another error" in text
    data = json.loads(text_of(diff, "json"))
    assert data["accuracies"][0]["before"] == {"top1": 0.716, "images": 1000}
    assert data["fit_errors"][-1]["name"] == "conv_head"
    assert "| `conv_head` | 0.901 | 0.583 | -0.318 |" in text_of(diff, "md")
    assert "| projected | 71.6% | 72.6% | +1.0 | 1,000 | pictures/val |" in text_of(diff, "md")
    rows = list(csv.DictReader(io.StringIO(text_of(diff, "csv"))))
    assert {"error", "accuracy"} < {row["kind"] for row in rows}
    assert '<td class="num">0.583</td>' in text_of(diff, "html")


def test_a_diff_with_a_report_that_was_not_fitted(sample_report: Report) -> None:
    diff = diff_reports(sample_report, projected(sample_report))
    assert diff.errors == ()
    assert [(c.stage, c.before) for c in diff.accuracies] == [("original", None), ("projected", None)]
    text = shown(diff, 100)
    assert "weights not fitted -> fitted on 320 images, seed 0" in text
    assert re.search(r"(?m)^original +- +87\.7% +- +1,000 +pictures/val$", text)
    assert diff_reports(projected(sample_report), projected(sample_report)).same
