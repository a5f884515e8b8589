"""Class activation maps as lines for people, and as JSON."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from kswap.analysis.cam import Cam, Cams
from kswap.errors import visible
from kswap.report.output import json_text


def render_terminal(cams: Cams, console: Console) -> None:
    """A line per map: the class, its probability and the size of the map."""
    for cam in cams.maps:
        console.print(visible(_line(cam)), markup=False, soft_wrap=True)


def _line(cam: Cam) -> str:
    height, width = cam.heat.shape
    slope = "" if cam.linear or cam.method != "cam" else ", by slope: layers stand between pool and classifier"
    return f"{cam.title}: class {cam.class_index}, {cam.probability:.1%}; {cam.method} {width}x{height}{slope}"


def render_json(cams: Cams) -> str:
    """A list with the values of each map and its rows from top to bottom, without the picture."""
    return json_text([_plain(cam) for cam in cams.maps])


def _plain(cam: Cam) -> dict[str, Any]:
    return {
        "model": cam.title,
        "method": cam.method,
        "class": cam.class_index,
        "probability": cam.probability,
        "linear": cam.linear,
        "heat": [[round(float(value), 4) for value in row] for row in cam.heat],
        "preprocessing": cam.preprocessing.to_json(),
    }
