"""A scan as one HTML page that stands for itself."""

from __future__ import annotations

from markupsafe import Markup

from kswap.plots import has_matplotlib
from kswap.report.html.page import page
from kswap.scans.figure import figure_bytes
from kswap.scans.result import Scan
from kswap.scans.wording import TEXT_HEADS, cells, heads, remarks, title


def render_html(scan: Scan) -> str:
    """The table, and the picture where matplotlib is there to draw it."""
    return page(
        "scan.html.j2",
        scan=scan,
        title=", ".join(scan.models),
        summary=title(scan),
        picture=_picture(scan) if has_matplotlib() else None,
        heads=heads(scan),
        texts=TEXT_HEADS,
        rows=[(row.trial.model, bool(scan.marks(row)), cells(scan, row)) for row in scan.rows],
        remarks=remarks(scan),
    )


def _picture(scan: Scan) -> Markup:
    """The picture as an element of the page, with a text for those who do not see it."""
    drawn = figure_bytes(scan, "svg").decode()
    pairs = ", ".join(f"{y.words} against {x.words}" for x, y in scan.pairs)
    said = f"All networks as points: {pairs}; lines are Pareto fronts. The table has the numbers."
    width = 620 * len(scan.pairs)
    opened = Markup('<svg role="img" aria-label="{}" style="width:100%;max-width:{}px;height:auto" ').format(
        said, width
    )
    # matplotlib writes the labels as outlines: nothing in the picture is text of a stranger.
    return opened + Markup(drawn[drawn.index("<svg ") + len("<svg ") :])
