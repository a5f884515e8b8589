"""One way to every format: what the command line calls."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console

from kswap.errors import ReportError, nearest
from kswap.report.diff import ReportDiff
from kswap.report.diff_render import render_diff_csv, render_diff_html, render_diff_markdown, render_diff_terminal
from kswap.report.markdown import render_markdown
from kswap.report.report import Report
from kswap.report.sites_csv import render_csv
from kswap.report.terminal import render_terminal

FORMATS = ("rich", "json", "md", "html", "csv")


def json_text(data: Any) -> str:
    """JSON as kswap writes it: indented, ASCII only."""
    return json.dumps(data, indent=2)


def check_format(format: str) -> str:
    """``format`` if kswap knows it. Raises :class:`ReportError`."""
    if format not in FORMATS:
        raise ReportError(f"unknown format '{format}': known are {', '.join(FORMATS)}{nearest(format, FORMATS)}")
    return format


def text_of(report: Report, format: str) -> str:
    """The report as text, in any format but ``"rich"``. Raises :class:`ReportError` for another one."""
    match check_format(format):
        case "json":
            return json_text(report.to_json())
        case "md":
            return render_markdown(report)
        case "csv":
            return render_csv(report)
        case "html":
            # jinja2 takes a while to import, and only HTML needs it.
            from kswap.report.html import render_html

            return render_html(report)
    raise ReportError("the format 'rich' is for a console and has no text; use json, md, html or csv")


def write_text(text: str, console: Console) -> None:
    """Write ``text`` to the console's file as it is: rich neither wraps nor colours it.

    What the file's encoding cannot hold is written as an escape, so that no locale makes this fail.
    """
    encoding = getattr(console.file, "encoding", None) or "utf-8"
    ending = "" if text.endswith("\n") else "\n"
    console.file.write((text + ending).encode(encoding, "backslashreplace").decode(encoding))


def render(report: Report, format: str, console: Console) -> None:
    """Show a report in one of :data:`FORMATS`. Raises :class:`ReportError` for an unknown format."""
    if format == "rich":
        render_terminal(report, console)
    else:
        write_text(text_of(report, format), console)


def render_diff(diff: ReportDiff, format: str, console: Console) -> None:
    """Show a comparison in one of :data:`FORMATS`. Raises :class:`ReportError` for an unknown format."""
    match check_format(format):
        case "rich":
            render_diff_terminal(diff, console)
        case "json":
            write_text(json_text(diff.to_json()), console)
        case "md":
            write_text(render_diff_markdown(diff), console)
        case "csv":
            write_text(render_diff_csv(diff), console)
        case "html":
            write_text(render_diff_html(diff), console)
