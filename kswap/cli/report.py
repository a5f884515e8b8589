"""``kswap report`` and ``kswap diff``: read what was saved, without building anything."""

from __future__ import annotations

import click

from kswap.cli.formats import format_option, show


@click.command()
@click.argument("directory", metavar="DIR")
@format_option("report")
def report(directory: str, format_: str) -> None:
    """Show the report of a saved directory again.

    DIR is a directory that kswap saved, or a JSON report.
    """
    from kswap.saved.directory import read_report

    show(read_report(directory), format_)


@click.command()
@click.argument("before", metavar="DIR")
@click.argument("after", metavar="DIR")
@format_option("diff")
def diff(before: str, after: str, format_: str) -> None:
    """Compare two saved directories.

    DIR is a directory that kswap saved, or a JSON report.
    """
    from kswap.report.diff import diff_reports
    from kswap.saved.directory import read_report

    show(diff_reports(read_report(before), read_report(after)), format_)
