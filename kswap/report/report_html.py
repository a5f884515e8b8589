"""The report as one HTML file."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from kswap.report.html import page
from kswap.report.kinds import KindExplanation, explanations_of, glossary_of
from kswap.report.projection_wording import ACCURACY_HEADS, accuracy_cells, error_text, weights_paragraphs
from kswap.report.report import Change, Report, SiteRow
from kswap.report.wording import TOTAL_LABELS, drop_in_text, report_settings, sites_by_reason, tally


@dataclass(frozen=True)
class SiteBars:
    """One site of the chart; heights are percent of the highest site."""

    row: SiteRow
    before: float
    after: float

    @property
    def title(self) -> str:
        row = self.row
        if not row.replaced:
            return f"{row.name}: kept, {row.params_before:,} parameters ({row.reason})"
        return f"{row.name}: {row.params_before:,} → {row.params_after:,} parameters ({row.short()})"


def _highest(report: Report) -> int:
    return max((max(row.params_before, row.params_after) for row in report.sites), default=0)


def _bars(report: Report) -> list[SiteBars]:
    highest = max(_highest(report), 1)
    return [
        SiteBars(row, round(100 * row.params_before / highest, 3), round(100 * row.params_after / highest, 3))
        for row in report.sites
    ]


def _section(report: Report, kind: KindExplanation) -> Markup:
    """The section that explains a kind of block, with the site of that kind that saves most."""
    replaced = [row for row in report.replaced if row.kind == kind.name]
    saving = [row for row in replaced if row.params_after < row.params_before]
    example = max(saving, key=lambda row: row.params_before - row.params_after, default=None)
    return Markup(page(kind.section, example=example, **kind.section_values()))


def _error_cell(error: float | None) -> Markup:
    """An error with a shade behind it, as wide as the error is large; in another colour beyond 1."""
    kind = "shade beyond" if error is not None and error > 1 else "shade"
    width = 100 * min(error or 0.0, 1.0)
    return Markup('<span class="{}" style="background-size: {}% 100%">{}</span>').format(
        kind, f"{width:.1f}", error_text(error)
    )


def render_html(report: Report) -> str:
    """The report as one HTML page, light or dark as the reader's system is, fit for phones and for print."""
    return page(
        "report.html.jinja",
        report=report,
        settings=report_settings(report, "×"),
        tally=tally(report),
        drop_in=drop_in_text(report),
        totals=[(TOTAL_LABELS[key], change) for key, change in report.totals.items()],
        weights=weights_paragraphs(report),
        accuracy_heads=ACCURACY_HEADS,
        accuracies=accuracy_cells(report.projection.accuracies) if report.projection else [],
        error_cell=_error_cell,
        sections=[_section(report, kind) for kind in explanations_of(report)],
        glossary=glossary_of(report),
        bars=_bars(report),
        highest=_highest(report),
        replaced=[(row, Change(row.params_before, row.params_after)) for row in report.replaced],
        kept=sites_by_reason(report.kept),
    )
