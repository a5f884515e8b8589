"""The report as one HTML file."""

from __future__ import annotations

from markupsafe import Markup

from kswap.report.html.chart import Chart
from kswap.report.html.drawing import Symbols
from kswap.report.html.page import page, visible_lines
from kswap.report.html.sites import FOLDED_BEYOND, SiteView, examples_of, views_of
from kswap.report.html.treemap import Treemap
from kswap.report.kinds import explanations_of
from kswap.report.projection_wording import ACCURACY_HEADS, accuracy_cells, error_text, weights_paragraphs
from kswap.report.provenance_wording import provenance_rows
from kswap.report.report import Report
from kswap.report.wording import (
    COUNTS_GLOSSARY,
    TOTAL_LABELS,
    drop_in_text,
    report_settings,
    site_words,
    tally,
)

SCRIPTS = ("sites.js", "treemap.js")


def _error_cell(error: float | None) -> Markup | str:
    """An error with a shade behind it, as wide as the error is large; in another colour beyond 1."""
    if error is None:
        return error_text(None)
    kind = "shade beyond" if error > 1 else "shade"
    width = 100 * min(error, 1.0)
    return Markup('<span class="{}" style="background-size:{}% 100%">{}</span>').format(
        kind, f"{width:.1f}", error_text(error)
    )


def _reasons(views: list[SiteView]) -> dict[str, list[SiteView]]:
    """The kept sites by their reason, in the order in which the reasons first appear."""
    reasons: dict[str, list[SiteView]] = {}
    for view in views:
        if not view.row.replaced:
            reasons.setdefault(view.row.reason, []).append(view)
    return reasons


def render_html(report: Report) -> str:
    """The report as one HTML page, light or dark as the reader's system is, fit for phones and for print."""
    symbols = Symbols("d")
    views = views_of(report, symbols)
    treemap = Treemap.of(report)
    return page(
        "report.html.j2",
        SCRIPTS if views else (),
        report=report,
        settings=report_settings(report, "×"),
        tally=tally(report),
        drop_in=drop_in_text(report),
        totals=[(TOTAL_LABELS[key], change) for key, change in report.totals.items()],
        weights=weights_paragraphs(report),
        accuracy_heads=ACCURACY_HEADS,
        accuracies=accuracy_cells(report.projection.accuracies) if report.projection else [],
        error_cell=_error_cell,
        views=views,
        symbols=symbols.definitions(),
        examples=examples_of(views),
        replaced_word=site_words(report.replaced, " or ")[0],
        legends=[kind.legend for kind in explanations_of(report)],
        folded=FOLDED_BEYOND,
        treemap=treemap,
        chart=Chart.of(views),
        reasons=_reasons(views),
        glossary=COUNTS_GLOSSARY,
        provenance=provenance_rows(report.provenance) if report.provenance else (),
        rules_text=visible_lines(report.provenance.rules.text) if report.provenance else "",
    )
