"""The registry of renderers: every value in every format."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest
from report_fixture import efficientnet_report
from rich.console import Console

from kswap.errors import ReportError
from kswap.report.diff import diff_reports
from kswap.report.html.report_page import render_html
from kswap.report.renderers import VALUES, formats_of, render, resolve, saved_files, text_of
from kswap.report.report import Report
from kswap.report.report_csv import render_csv
from kswap.report.report_markdown import render_markdown
from kswap.report.wording import compact, percent

FORMATS = formats_of("report")


@pytest.mark.parametrize("name", VALUES)
def test_every_entry_names_what_there_is(name: str) -> None:
    entry = VALUES[name]
    assert isinstance(resolve(entry.value), type)
    assert all(callable(resolve(path)) for path in entry.formats.values())
    assert set(entry.saved) <= set(entry.formats)


def test_a_value_without_renderers_is_one_sentence(pipe: Console) -> None:
    with pytest.raises(ReportError, match="a dict has no renderers"):
        render({}, "json", pipe)


def test_a_subclass_is_shown_like_its_base(sample_report: Report) -> None:
    class Mine(Report):
        pass

    mine = Mine(**vars(sample_report))
    assert text_of(mine, "md") == text_of(sample_report, "md")


def test_formats_are_listed_without_importing_a_renderer() -> None:
    code = (
        "import sys; from kswap.report.renderers import VALUES, formats_of; list(map(formats_of, VALUES));"
        "print([m for m in sys.modules if m.startswith(('rich', 'jinja2', 'torch', 'kswap.report.'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "['kswap.report.renderers']\n", done.stderr


def test_files_of_a_saved_directory() -> None:
    assert saved_files("report") == {"report.json": "json", "report.md": "md", "report.html": "html"}
    assert saved_files("diff") == {}


def test_json_is_the_report(hostile_report: Report, pipe: Console) -> None:
    render(hostile_report, "json", pipe)
    assert Report.from_json(json.loads(pipe.file.getvalue())) == hostile_report


@pytest.mark.parametrize("format", FORMATS[1:])
@pytest.mark.parametrize("terminal", [True, False])
def test_texts_are_written_as_they_are(hostile_report: Report, format: str, terminal: bool) -> None:
    console = Console(file=io.StringIO(), width=20, force_terminal=terminal)
    render(hostile_report, format, console)
    text = text_of(hostile_report, format)
    assert console.file.getvalue() == (text if text.endswith("\n") else text + "\n")


def test_texts_come_from_their_renderers(sample_report: Report) -> None:
    assert text_of(sample_report, "md") == render_markdown(sample_report)
    assert text_of(sample_report, "csv") == render_csv(sample_report)
    assert text_of(sample_report, "html") == render_html(sample_report)
    assert json.loads(text_of(sample_report, "json")) == sample_report.to_json()


def test_rich_goes_through_the_console(sample_report: Report, pipe: Console) -> None:
    render(sample_report, "rich", pipe)
    assert "15.5%" in pipe.file.getvalue()


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_of_a_diff(sample_report: Report, other_report: Report, pipe: Console, format: str) -> None:
    render(diff_reports(sample_report, other_report), format, pipe)
    text = pipe.file.getvalue()
    assert "blocks.6.0.conv_pwl" in text.replace("<wbr>", "")
    if format == "json":
        assert json.loads(text)["same"] is False


def test_an_unknown_format_is_one_sentence(sample_report: Report, pipe: Console) -> None:
    for call in (
        lambda: render(sample_report, "htm", pipe),
        lambda: render(diff_reports(sample_report, sample_report), "htm", pipe),
    ):
        with pytest.raises(ReportError, match=r"unknown format 'htm': known are rich, json.+did you mean html"):
            call()
    with pytest.raises(ReportError, match="has no text"):
        text_of(sample_report, "rich")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("format", FORMATS)
def test_no_encoding_makes_it_fail(sample_report: Report, encoding: str, format: str) -> None:
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding=encoding, newline=""), width=80)
    render(sample_report, format, console)
    console.file.flush()
    assert b"blocks.6.0" in raw.getvalue().replace(b"<wbr>", b"")


def test_the_fixture_is_the_published_network(sample_report: Report) -> None:
    """The hand-built network has the published counts, so the reports above show real numbers."""
    assert (sample_report.params.before, sample_report.params.after) == (4_020_358, 623_226)
    b7 = efficientnet_report("efficientnet_b7", 2.0, 3.1, 600)
    assert (b7.params.before, b7.params.after) == (63_812_570, 4_585_154)


def test_reports_need_no_torch() -> None:
    modules = ", ".join(
        f"kswap.report.{name}" for name in ("renderers", "html.report_page", "html.diff_page", "layer", "condition")
    )
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_jinja_is_imported_for_html_only() -> None:
    code = "import sys, kswap.report.report_terminal, kswap.report.layer; print('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1000, "1.00K"), (99_950, "100K"), (99_949, "99.9K"), (-1234, "-1.23K"), (5e12, "5.00T")],
)
def test_compact_numbers(number: float, text: str) -> None:
    assert compact(int(number)) == text
    assert compact(7 * 10**16) == "70,000T"


@pytest.mark.parametrize(
    ("ratio", "text"), [(0, "0.0%"), (1e-9, "<0.1%"), (0.99999, "100.0%"), (1, "100%"), (2.5, "250.0%")]
)
def test_percentages(ratio: float, text: str) -> None:
    assert percent(ratio) == text
