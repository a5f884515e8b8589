"""A scan as one HTML page that stands for itself."""

from __future__ import annotations

import base64

from kswap.report.html import page
from kswap.scans.figure import figure_bytes, has_matplotlib
from kswap.scans.result import Scan
from kswap.scans.wording import TEXT_HEADS, cells, heads, remarks, title


def render_html(scan: Scan) -> str:
    """The table, and the picture where matplotlib is there to draw it."""
    picture = None
    if has_matplotlib():
        encoded = base64.b64encode(figure_bytes(scan, "svg")).decode()
        picture = f"data:image/svg+xml;base64,{encoded}"
    pairs = [f"{y.words} against {x.words}" for x, y in scan.pairs]
    return page(
        "scan.html.jinja",
        scan=scan,
        title=", ".join(scan.models),
        summary=title(scan),
        picture=picture,
        described=f"All networks as points: {', '.join(pairs)}; lines are Pareto fronts. The table has the numbers.",
        heads=heads(scan),
        texts=TEXT_HEADS,
        rows=[(row.trial.model, bool(scan.marks(row)), cells(scan, row)) for row in scan.rows],
        remarks=remarks(scan),
    )
