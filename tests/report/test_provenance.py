"""Where a report comes from, in every format, and compared."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from report_fixture import HOSTILE
from rich.console import Console

from kswap.errors import ReportError
from kswap.report.calls import called_as, command_text, current_call, recorded, without_home
from kswap.report.condition import Condition
from kswap.report.diff import diff_reports
from kswap.report.diff_figures import blank_figures, figures_of
from kswap.report.diff_wording import summary
from kswap.report.provenance import LONGEST_RULES, ModelOrigin, Provenance, RulesOrigin, WeightsStep, date_now
from kswap.report.renderers import formats_of, render, text_of
from kswap.report.report import Report

ORIGIN = Provenance(
    "kswap convert efficientnet_b0 --num-classes 10",
    "2026-11-21T18:00:00Z",
    7,
    {"kswap": "0.1.0", "torch": "2.11.0", "timm": "1.0.22", "torchvision": None},
    ModelOrigin("timm", "efficientnet_b0", {"num_classes": 10}, "published"),
    RulesOrigin.of("mine.toml", "# wide at the end\nch = 32\n"),
    "ab" * 32,
    (WeightsStep("projected", 7, 512, "photos"), WeightsStep("distilled", 0, 12_000, "photos", "efficientnet_b0")),
)


@pytest.fixture
def report(sample_report: Report) -> Report:
    return sample_report.with_provenance(ORIGIN)


def shown(value: object, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width)
    render(value, "rich", console)
    return console.file.getvalue()


@pytest.mark.parametrize("format_", formats_of("report"))
def test_every_format_says_where_a_report_comes_from(report: Report, format_: str) -> None:
    text = shown(report) if format_ == "rich" else text_of(report, format_)
    for part in (ORIGIN.command, "2026-11-21", "2.11.0", "efficientnet_b0", "num_classes", "mine.toml", "published"):
        assert part in text, part
    assert ORIGIN.rules.sha256[:16] in text
    assert ORIGIN.base_hash[:16] in text
    if format_ != "json":
        steps = "projected from 512 images of photos, seed 7; then distilled from efficientnet_b0 on 12,000 images"
        assert steps in text


def test_the_text_of_the_rules_is_in_json_and_markdown(report: Report) -> None:
    assert json.loads(text_of(report, "json"))["provenance"]["rules"]["text"] == ORIGIN.rules.text
    assert '<pre tabindex="0"># wide at the end\nch = 32</pre>' in text_of(report, "html")
    assert "```toml\n# wide at the end\nch = 32\n```" in text_of(report, "md")


def test_a_very_long_rule_file_is_kept_by_its_hash() -> None:
    long = RulesOrigin.of("long.toml", "#" * (LONGEST_RULES + 1))
    assert (long.text, len(long.sha256)) == ("", 64)


def test_json_brings_it_back_and_old_reports_have_none(report: Report, sample_report: Report) -> None:
    data = json.loads(text_of(report, "json"))
    assert Report.from_json(data) == report
    del data["provenance"]
    assert Report.from_json(data) == sample_report


def test_csv_repeats_it_in_every_row(report: Report, sample_report: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(text_of(report, "csv"))))
    assert {row["provenance_command"] for row in rows} == {ORIGIN.command}
    assert len(rows) == 64
    assert "provenance" not in text_of(sample_report, "csv")


@pytest.mark.parametrize("date", ["yesterday", "2026-13-01", ""])
def test_a_date_that_is_none_is_refused(report: Report, date: str) -> None:
    data = report.to_json()
    data["provenance"]["date"] = date
    with pytest.raises(ReportError, match="ISO 8601"):
        Report.from_json(data)


def test_a_hostile_provenance_is_harmless(report: Report) -> None:
    hostile = replace(
        ORIGIN,
        command=HOSTILE,
        model=ModelOrigin("timm", HOSTILE, {HOSTILE: HOSTILE}, HOSTILE),
        rules=RulesOrigin.of(HOSTILE, f"```\n{HOSTILE}"),
        weights=(WeightsStep(HOSTILE, teacher=HOSTILE, data=HOSTILE),),
        versions={"torch": HOSTILE},
    )
    harmful = report.with_provenance(hostile)
    diff = diff_reports(report, harmful)
    for text in (shown(harmful), shown(diff), text_of(harmful, "csv"), text_of(diff, "csv")):
        assert "\x1b" not in text
        assert "\n=cmd" not in text
    assert "<script>alert" not in text_of(diff, "html") + text_of(harmful, "html")
    assert "\x1b" not in text_of(harmful, "html")
    assert "<script>" not in text_of(diff, "md").replace("`", "")[:200]
    assert "\n````toml\n" in text_of(harmful, "md")


def test_the_date_respects_source_date_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert date_now() == "2023-11-14T22:13:20Z"
    for wrong in ("soon", "", "9" * 30):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", wrong)
        with pytest.raises(ReportError, match="SOURCE_DATE_EPOCH must be a whole number of seconds"):
            date_now()


def test_the_home_directory_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert without_home("/home/ada/net.py:build") == "~/net.py:build"
    assert without_home("/home/adamant/net.py") == "/home/adamant/net.py"
    typed = ["convert", "resnet50", "--weights", "/home/ada/my weights.pth"]
    assert command_text(typed) == "kswap convert resnet50 --weights ~/'my weights.pth'"
    monkeypatch.setenv("HOME", "/")
    assert without_home("/data/net.py") == "/data/net.py"


def test_a_call_in_python_is_shown_without_defaults_and_without_content() -> None:
    @recorded("kswap.example")
    def example(model: object, ch: int = 16, rules: object = None, **more: object) -> str:
        return current_call()

    assert example(Path("net"), 16, {"ch": 8}, num_classes=2) == "kswap.example('net', rules={'ch': 8}, num_classes=2)"
    assert example(object(), rules=print) == "kswap.example(object(...), rules=builtin_function_or_method(...))"
    with called_as("kswap convert net"):
        assert example("net") == "kswap convert net"
    assert current_call() == ""
    with pytest.raises(TypeError, match="missing 1 required"):
        example()  # type: ignore[call-arg]


def test_other_classes_are_named_first(report: Report) -> None:
    more = replace(ORIGIN, model=ModelOrigin("timm", "efficientnet_b0", {"num_classes": 1000}, "published"))
    params = replace(report.params, before=report.params.before + 10**6, after=report.params.after + 10**6)
    other = replace(report, provenance=more, params=params)
    diff = diff_reports(report, other)
    assert not diff.same
    assert summary(diff) == (
        "the originals differ (num_classes 10 and 1000), 0 sites changed, 64 unchanged, "
        "+1,000,000 parameters outside of the sites"
    )
    assert "num_classes 10 -> 1000" in " ".join(shown(diff).split())
    rows = list(csv.DictReader(io.StringIO(text_of(diff, "csv"))))
    assert ["provenance", "num_classes", "", "10", "1000"] in [list(row.values()) for row in rows]
    assert "| num_classes | `10` | `1000` |" in text_of(diff, "md")
    for format_ in ("md", "html"):
        text = text_of(diff, format_)
        assert text.index("num_classes") < text.index("parameters outside of the sites")


def test_without_provenance_the_originals_are_compared_by_their_counts(sample_report: Report) -> None:
    params = replace(sample_report.params, before=5_000_000)
    diff = diff_reports(sample_report, replace(sample_report, params=params))
    assert summary(diff).startswith("the originals differ (4,020,358 and 5,000,000 parameters)")
    assert "not recorded (written by" not in shown(diff)


def test_a_report_of_before_is_compared_with_one_of_today(report: Report, sample_report: Report) -> None:
    diff = diff_reports(sample_report, report)
    assert diff.provenance == ()
    text = shown(diff)
    assert "first  not recorded (written by kswap 0.1.0 or earlier)" in text
    assert "second kswap convert efficientnet_b0 --num-classes 10, 2026-11-21 18:00:00 UTC" in text


def test_commands_and_dates_alone_make_no_difference(report: Report) -> None:
    later = replace(ORIGIN, command="kswap.convert(...)", date="2027-01-01T00:00:00Z")
    assert diff_reports(report, report.with_provenance(later)).same
    for changes in ({"seed": 8}, {"versions": {"torch": "2.12.0"}}, {"rules": RulesOrigin.of("mine.toml", "ch = 8")}):
        diff = diff_reports(report, report.with_provenance(replace(ORIGIN, **changes)))
        assert not diff.same
        assert diff.origin == ()


def test_a_step_is_added_and_dated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    trained = ORIGIN.after("kswap train net", WeightsStep("trained", 0, 50_000, "cifar10"))
    assert (trained.command, trained.date) == ("kswap train net", "1970-01-01T00:00:00Z")
    assert str(trained.weights[-1]) == "trained on 50,000 images of cifar10, seed 0"
    assert trained.weights[:2] == ORIGIN.weights


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("params.delta > 300K", True),
        ("params.ratio > 1.6", False),
        ("changed > 0 and same_originals", True),
        ("same or provenance > 0", False),
        ("originals.params.delta != 0", False),
        ("outside.delta == 0", True),
        ("only_before + 1 > 0", None),
    ],
)
def test_conditions_on_a_comparison(sample_report: Report, other_report: Report, text: str, holds: bool | None) -> None:
    if holds is None:
        with pytest.raises(ReportError):
            Condition.parse(text)
        return
    condition = Condition.parse(text).check(blank_figures())
    figures = figures_of(diff_reports(sample_report, other_report))
    assert condition.holds(figures) is holds
    assert (condition.failure(figures) is not None) is holds


def test_a_path_that_no_comparison_has_is_refused() -> None:
    with pytest.raises(ReportError, match=r"no number 'params.dleta'; did you mean params.delta"):
        Condition.parse("params.dleta > 0").check(blank_figures())
