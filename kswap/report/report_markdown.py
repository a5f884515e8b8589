"""The report as Markdown, made for a pull request: totals in sight, the long tables collapsed."""

from __future__ import annotations

from kswap.report.kinds import glossary_of
from kswap.report.markdown import code, collapsed, fenced, prose, table
from kswap.report.projection_wording import ACCURACY_HEADS, accuracy_cells, error_text, weights_paragraphs
from kswap.report.provenance import Provenance
from kswap.report.provenance_wording import provenance_rows
from kswap.report.report import Change, Report, SiteRow
from kswap.report.wording import TOTAL_LABELS, drop_in_text, percent, plural, report_settings, sites_by_reason, tally

BAR_CELLS = 20


def bar(ratio: float) -> str:
    filled = max(round(min(ratio, 1.0) * BAR_CELLS), 1) if ratio > 0 else 0
    return "█" * filled + "░" * (BAR_CELLS - filled)


def arrow(change: Change) -> str:
    """``4,020,358 → 623,226``."""
    return f"{change.before:,} → {change.after:,}"


def _site_cells(row: SiteRow) -> list[str]:
    params = Change(row.params_before, row.params_after)
    macs = Change(row.macs_before, row.macs_after)
    growing = " ⚠" if row.grows else ""
    channels = f"{row.in_channels}→{row.out_channels}"
    return [code(row.name), channels, code(row.short()), arrow(params), percent(params.ratio) + growing, arrow(macs)]


def _weights(report: Report) -> list[str]:
    lines = ["**Weights**", ""]
    for paragraph in weights_paragraphs(report):
        lines += [prose(paragraph), ""]
    if report.projection and report.projection.accuracies:
        rows = [[prose(cell) for cell in cells] for cells in accuracy_cells(report.projection.accuracies)]
        lines += [*table(ACCURACY_HEADS, rows, "<>>><"), ""]
    return lines


def _replaced(report: Report) -> list[str]:
    heads, sides = ["site", "channels", "plan", "parameters", "left", "MACs"], "<><>>>"
    rows = [_site_cells(row) for row in report.replaced]
    if report.projection:
        heads, sides = [*heads, "error"], sides + ">"
        rows = [[*cells, error_text(row.fit_error)] for cells, row in zip(rows, report.replaced, strict=True)]
    lines = table(heads, rows, sides)
    return collapsed(f"Replaced: {plural(len(report.replaced), 'site')}", lines)


def _kept(report: Report) -> list[str]:
    rows = [
        (prose(reason), str(len(rows)), ", ".join(code(row.name) for row in rows))
        for reason, rows in sites_by_reason(report.kept).items()
    ]
    return collapsed(
        f"Kept: {plural(len(report.kept), 'site')}, with the reason", table(["reason", "sites", "names"], rows, "<><")
    )


def _provenance(provenance: Provenance) -> list[str]:
    rows = [(label, prose(value) if label == "date" else code(value)) for label, value in provenance_rows(provenance)]
    lines = table(["", ""], rows, "<<")
    if provenance.rules.text:
        lines += ["", *fenced(provenance.rules.text, "toml")]
    return collapsed("Provenance: what was called, when, on which model, by which rules", lines)


def totals_table(report: Report) -> list[str]:
    """Lines of the table of what the whole model counts, before and after."""
    rows = [
        (
            TOTAL_LABELS[key],
            f"{change.before:,}",
            f"**{change.after:,}**",
            percent(change.ratio),
            code(bar(change.ratio)),
        )
        for key, change in report.totals.items()
    ]
    return table(["", "before", "after", "left", ""], rows, "<>>><")


def render_markdown(report: Report) -> str:
    """The report as GitHub-flavoured Markdown, ending with one line break."""
    chosen = " · ".join(f"{key} {code(value)}" for key, value in report_settings(report, "×").items())
    lines = [
        f"### kswap: {code(report.model)} keeps {percent(report.params.ratio)} of its parameters",
        "",
        f"{chosen} · kswap {prose(report.kswap)}",
        "",
        *totals_table(report),
        "",
        f"**{tally(report)}.** Drop-in: {drop_in_text(report)}.",
        "",
    ]
    if report.projection:
        lines += _weights(report)
    if report.notes:
        lines += ["**Notes**", "", *(f"- {prose(note)}" for note in report.notes), ""]
    if report.replaced:
        lines += _replaced(report)
    if report.kept:
        lines += _kept(report)
    if report.provenance:
        lines += _provenance(report.provenance)
    return "\n".join([*lines, f"<sub>{prose(glossary_of(report))}</sub>", ""])
