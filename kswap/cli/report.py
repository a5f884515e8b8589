"""``kswap report`` and ``kswap diff``: read what was saved, without building anything."""

from __future__ import annotations

import click

from kswap.cli.options import console, format_option


@click.command()
@click.argument("directory", metavar="DIR")
@format_option
def report(directory: str, format_: str) -> None:
    """Show the report of a saved directory again.

    DIR is a directory that kswap saved, or a JSON report.
    """
    from kswap.report.render import render
    from kswap.saved.directory import read_report

    render(read_report(directory), format_, console())


@click.command()
@click.argument("before", metavar="DIR")
@click.argument("after", metavar="DIR")
@click.option(
    "--format", "format_", type=click.Choice(["rich", "json", "md", "csv"]), default="rich", show_default=True
)
def diff(before: str, after: str, format_: str) -> None:
    """Compare two saved directories.

    DIR is a directory that kswap saved, or a JSON report.
    """
    from kswap.report.diff import diff_reports
    from kswap.report.render import render_diff
    from kswap.saved.directory import read_report

    render_diff(diff_reports(read_report(before), read_report(after)), format_, console())
