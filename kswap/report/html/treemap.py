"""Where the weights were and where they are: rectangles as large as what they stand for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from kswap.report.html.measures import Measure, measures_of
from kswap.report.report import Change, Report, SiteRow

# The height of the map is about half its width; all other sizes are percent of the map.
ASPECT = 0.5
NAME_HEIGHT, NAMED_WIDTH = 5.0, 6.0
MOST_PARTS, FEWEST_PARTS = 40, 3


@dataclass(frozen=True)
class Box:
    """A rectangle; all in percent of the width and the height of the map."""

    x: float
    y: float
    width: float
    height: float

    @property
    def below_its_name(self) -> Box:
        """What is left of the box of a part when its name stands at the top; all of it where there is no room."""
        if self.width < NAMED_WIDTH or self.height < 2 * NAME_HEIGHT:
            return self
        return Box(self.x, self.y + NAME_HEIGHT, self.width, self.height - NAME_HEIGHT)

    @property
    def style(self) -> str:
        return ";".join(
            f"{side}:{value:.4g}%" for side, value in zip(("left", "top", "width", "height"), self.numbers, strict=True)
        )

    @property
    def numbers(self) -> list[float]:
        return [round(value, 2) for value in (self.x, self.y, self.width, self.height)]


def squarify(sizes: Sequence[float], box: Box) -> list[Box]:
    """Rectangles with these areas that fill ``box``, as square as may be (Bruls, Huizing and van Wijk 2000).

    ``sizes`` are not negative; one of 0 has no area. The order is kept in what is returned.

    >>> [(b.x, b.y, b.width, b.height) for b in squarify([1, 3], Box(0, 0, 100, 100))]
    [(75.0, 0, 25.0, 100.0), (0, 0.0, 75.0, 100.0)]
    """
    total = sum(sizes)
    placed = [Box(box.x, box.y, 0.0, 0.0)] * len(sizes)
    if total <= 0:
        return placed
    scale = box.width * box.height / total
    left = sorted((index for index, size in enumerate(sizes) if size > 0), key=lambda index: -sizes[index])
    while left:
        # On the page a percent of the height is shorter than a percent of the width.
        along_width = box.width < box.height * ASPECT
        side = box.width if along_width else box.height * ASPECT
        row, worst = 1, float("inf")
        for count in range(1, len(left) + 1):
            areas = [sizes[index] * scale * ASPECT for index in left[:count]]
            thick = sum(areas) / side if side else 0.0
            ratio = max((max(thick * thick / area, area / (thick * thick)) for area in areas), default=0.0)
            if ratio > worst:
                break
            row, worst = count, ratio
        box = _lay_row(left[:row], sizes, scale, box, along_width, placed)
        left = left[row:]
    return placed


def _lay_row(
    row: Sequence[int], sizes: Sequence[float], scale: float, box: Box, along_width: bool, placed: list[Box]
) -> Box:
    """Put a row of rectangles at an edge of ``box``; returns what is left of it."""
    area = sum(sizes[index] for index in row) * scale
    at = 0.0
    if along_width:
        thick = area / box.width
        for index in row:
            length = sizes[index] * scale / thick
            placed[index] = Box(box.x + at, box.y, length, thick)
            at += length
        return Box(box.x, box.y + thick, box.width, max(box.height - thick, 0.0))
    thick = area / box.height
    for index in row:
        length = sizes[index] * scale / thick
        placed[index] = Box(box.x, box.y + at, thick, length)
        at += length
    return Box(box.x + thick, box.y, max(box.width - thick, 0.0), box.height)


@dataclass(frozen=True)
class Part:
    """Sites whose names begin alike; the numbers are their places in the report."""

    name: str
    sites: tuple[int, ...]

    def inside(self, name: str) -> str:
        """The name of a site without that of its part."""
        return name.removeprefix(f"{self.name}.")


def parts_of(rows: Sequence[SiteRow]) -> tuple[Part, ...]:
    """The parts of a network, by as much of the names of its sites as tells a few parts apart.

    >>> from types import SimpleNamespace as Row
    >>> names = ("blocks.0.a", "blocks.0.b", "blocks.1.a", "head")
    >>> [(part.name, part.sites) for part in parts_of([Row(name=name) for name in names])]
    [('blocks.0', (0, 1)), ('blocks.1', (2,)), ('head', (3,))]
    """
    names = [row.name.split(".") for row in rows]
    parts: dict[str, list[int]] = {}
    for depth in range(1, max(map(len, names), default=0) + 1):
        deeper: dict[str, list[int]] = {}
        for index, name in enumerate(names):
            deeper.setdefault(".".join(name[:depth]), []).append(index)
        if parts and len(deeper) > MOST_PARTS:
            break
        parts = deeper
        if len(parts) >= FEWEST_PARTS:
            break
    return tuple(Part(name, tuple(sites)) for name, sites in parts.items())


@dataclass(frozen=True)
class Layout:
    """The boxes of one measure, before or after, of the parts and of the sites in the order of the report.

    The last of the parts is what is not at a site.
    """

    parts: list[Box]
    sites: list[Box]


def _lay_out(parts: Sequence[Part], sizes: Sequence[int], rest: int) -> Layout:
    totals = [sum(sizes[index] for index in part.sites) for part in parts]
    boxes = squarify([*totals, max(rest, 0)], Box(0, 0, 100, 100))
    placed = [Box(0, 0, 0, 0)] * len(sizes)
    for part, box in zip(parts, boxes, strict=False):
        inner = squarify([sizes[index] for index in part.sites], box.below_its_name)
        for index, site in zip(part.sites, inner, strict=True):
            placed[index] = site
    return Layout(boxes, placed)


@dataclass(frozen=True)
class Treemap:
    """The map of a report, for each measure that it has."""

    parts: tuple[Part, ...]
    measures: tuple[Measure, ...]

    @classmethod
    def of(cls, report: Report) -> Treemap:
        return cls(parts_of(report.sites), measures_of(report))

    def layout(self, measure: Measure, after: bool) -> Layout:
        """Where everything is when areas are those before the conversion, or those after it."""
        side = 1 if after else 0
        sizes = [counts[side] for counts in measure.sites]
        return _lay_out(self.parts, sizes, measure.rest[side])

    def rows(self) -> list[tuple[str, int, list[Change]]]:
        """The same in numbers: each part, how many sites it has, and a change for each measure; the whole last."""

        def changes(sites: Sequence[int]) -> list[Change]:
            return [
                Change(*(sum(measure.sites[index][side] for index in sites) for side in (0, 1)))
                for measure in self.measures
            ]

        parts = [(part.name, len(part.sites), changes(part.sites)) for part in self.parts]
        rest = ("not at a site", 0, [Change(*measure.rest) for measure in self.measures])
        return [*parts, rest, ("all", 0, [measure.total for measure in self.measures])]

    def to_json(self) -> str:
        """Boxes and counts for the script of the page, without a name: nothing in it comes from a stranger."""
        order = [index for part in self.parts for index in part.sites]  # that of the tiles on the page
        data = {}
        for measure in self.measures:
            sides = {}
            for name, after in (("before", False), ("after", True)):
                layout = self.layout(measure, after)
                sides[name] = {
                    "tiles": [layout.sites[index].numbers for index in order] + [layout.parts[-1].numbers],
                    "parts": [box.numbers for box in layout.parts[:-1]],
                }
            counts = [*(measure.sites[index] for index in order), measure.rest]
            data[measure.key] = sides | {"counts": counts, "word": measure.word}
        return json.dumps(data, separators=(",", ":"))
