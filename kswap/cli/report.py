"""``kswap report`` and ``kswap diff``: read what was saved, without building anything."""

from __future__ import annotations

import click

from kswap.cli.formats import check_length, format_option, length_options, quiet_option, show, show_line, show_report


@click.command()
@click.argument("directory", metavar="DIR")
@format_option("report")
@length_options
def report(directory: str, format_: str, top: int | None, quiet: bool) -> None:
    """Show the report of a saved directory again.

    DIR is a directory that kswap saved, or a JSON report.
    """
    from kswap.saved.reading import read_report

    check_length(format_, top, quiet)
    show_report(read_report(directory), format_, top, quiet)


@click.command()
@click.argument("before", metavar="DIR")
@click.argument("after", metavar="DIR")
@format_option("diff")
@click.option(
    "--fail-if",
    metavar="EXPR",
    help="Exit with status 1 if this holds: 'params.delta > 0 or macs.ratio > 1.02 or not same_originals'.",
)
@quiet_option
def diff(before: str, after: str, format_: str, fail_if: str | None, quiet: bool) -> None:
    """Compare two saved directories.

    DIR is a directory that kswap saved, or a JSON report. What differs in where they come from is shown first.
    """
    from kswap.report.condition import Condition
    from kswap.report.diff import diff_reports
    from kswap.report.diff_figures import blank_figures, figures_of
    from kswap.report.diff_wording import one_line
    from kswap.saved.reading import read_report

    check_length(format_, None, quiet)
    condition = None if fail_if is None else Condition.parse(fail_if).check(blank_figures())
    found = diff_reports(read_report(before), read_report(after))
    if quiet:
        show_line(one_line(found))
    else:
        show(found, format_)
    failure = condition.failure(figures_of(found)) if condition else None
    if failure:
        click.echo(failure, err=True)
        raise click.exceptions.Exit(1)
