"""The report as one HTML file that stands for itself: no scripts, no fonts, nothing from the network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from kswap.errors import visible
from kswap.report.kinds import KindExplanation, explanations_of, glossary_of
from kswap.report.report import Change, Report, SiteRow
from kswap.report.wording import (
    TOTAL_LABELS,
    compact,
    drop_in,
    percent,
    settings,
    signed,
    sites_by_reason,
    tally,
)


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


def bar(change: Change) -> Markup:
    """A bar of what is left; full, and in another colour, where a count grows."""
    width = min(change.ratio, 1.0) * 100
    kind = "bar grows" if change.ratio > 1 else "bar"
    return Markup('<span class="{}"><i style="width: {}%"></i></span>').format(kind, f"{width:.2f}")


def breakable(name: str) -> Markup:
    """A qualified name that may break after its dots.

    >>> str(breakable("a.<b>"))
    'a.<wbr>&lt;b&gt;'
    """
    return Markup(".<wbr>").join(visible(name).split("."))


def _shown(value: object) -> object:
    """A value as a page shows it: control characters, which HTML forbids, are written as escapes."""
    return visible(value) if type(value) is str else value


@cache
def environment() -> Environment:
    """The templates of the package, with everything escaped that comes from a report."""
    made = Environment(
        loader=PackageLoader("kswap.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "breakable": breakable,
        "percent": percent,
        "compact": compact,
        "thousands": "{:,}".format,
        "signed": signed,
    }
    made.globals |= {"bar": bar}
    return made


def _section(report: Report, kind: KindExplanation) -> Markup:
    """The section that explains a kind of block, with the site of that kind that saves most."""
    replaced = [row for row in report.replaced if row.kind == kind.name]
    saving = [row for row in replaced if row.params_after < row.params_before]
    example = max(saving, key=lambda row: row.params_before - row.params_after, default=None)
    template = environment().get_template(kind.section)
    return Markup(template.render(example=example, **kind.section_values()))


def render_html(report: Report) -> str:
    """The report as one HTML page, light or dark as the reader's system is, fit for phones and for print."""
    return (
        environment()
        .get_template("report.html.jinja")
        .render(
            report=report,
            settings=settings(report, "×"),
            tally=tally(report),
            drop_in=drop_in(report),
            totals=[(TOTAL_LABELS[key], change) for key, change in report.totals.items()],
            sections=[_section(report, kind) for kind in explanations_of(report)],
            glossary=glossary_of(report),
            bars=_bars(report),
            highest=_highest(report),
            replaced=[(row, Change(row.params_before, row.params_after)) for row in report.replaced],
            kept=sites_by_reason(report.kept),
        )
    )
