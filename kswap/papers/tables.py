"""The tables of the papers: what they print, what our networks have, and whether the two agree."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from kswap.papers.recipes import Recipe, Variant, recipe
from kswap.planner.schemes import plan_layer

PUBLISHED = Path(__file__).parent / "published.json"


@dataclass(frozen=True)
class PublishedRow:
    """One row of a table of the papers.

    Args:
        table: name of the table.
        params: published trainable parameters; the weights of a single layer.
        recipe: name of the recipe; ``None`` for a single layer.
        layer: input channels and filters of a single convolution; ``None`` for a network.
        scheme: ``"v1"`` or ``"v2"``; ``None`` (and no ``ch``) for the baseline of the recipe.
        ch: channels per group.
        classes: outputs of the classifier.
        side: height and width of the input.
        skip_stride_cnt: as for :class:`kswap.papers.recipes.Variant`.
        second_layer: ``False`` in the "no L" rows.
        relu: ``True`` in the ReLU rows.
        passes: 2 where a picture and its mirror are both classified.
        computations: published computations, of all passes.
        accuracy: published test accuracy in percent.
        note: why a figure is not that of the authors' own code, or how it is meant.
    """

    table: str
    params: int
    recipe: str | None = None
    layer: tuple[int, int] | None = None
    scheme: str | None = None
    ch: int | None = None
    classes: int = 1000
    side: int = 224
    skip_stride_cnt: int = -1
    second_layer: bool = True
    relu: bool = False
    passes: int = 1
    computations: int | None = None
    accuracy: float | None = None
    note: str | None = None

    @cached_property
    def network(self) -> str:
        """The network or layer of the row, in words.

        >>> PublishedRow("Table 1", 80, layer=(14, 10), ch=4, scheme="v2").network
        'layer 14 -> 10 v2 4ch'
        """
        if self.layer:
            words = [f"layer {self.layer[0]} -> {self.layer[1]}"]
        else:
            words = [self.recipe_of.name if self.scheme else self.recipe_of.source.removeprefix("papers/")]
        if self.scheme:
            words.append(f"{self.scheme} {self.ch}ch")
        words += ["no L"] * (not self.second_layer) + ["ReLU"] * self.relu + ["+ H flip"] * (self.passes == 2)
        return " ".join(words)

    @property
    def recipe_of(self) -> Recipe:
        return recipe(str(self.recipe))

    @property
    def skip_strides(self) -> int:
        """How many strided stages have stride 1 (0 for a single layer)."""
        return self.recipe_of.strides_skipped(self.skip_stride_cnt) if self.recipe else 0

    @property
    def variant(self) -> Variant:
        """The network of a row with a recipe and a scheme."""
        return Variant(
            recipe=self.recipe_of,
            scheme=self.scheme or "",
            ch=self.ch or 0,
            num_classes=self.classes,
            input_size=(self.side, self.side),
            skip_stride_cnt=self.skip_stride_cnt,
            second_layer=self.second_layer,
            relu=self.relu,
        )

    @property
    def key(self) -> PublishedRow:
        """The row without its published figures: rows with the same key have the same figures here."""
        return replace(self, table="", params=0, passes=1, computations=None, accuracy=None, note=None)


@dataclass(frozen=True)
class Figures:
    """Trainable parameters, and computations of one pass (0 for a single layer)."""

    params: int
    computations: int = 0


@dataclass(frozen=True)
class CheckedRow:
    """A published row with our figures."""

    row: PublishedRow
    ours: Figures

    @property
    def computations(self) -> int | None:
        """Our computations as the row counts them, if the table prints any."""
        return None if self.row.computations is None else self.ours.computations * self.row.passes

    @property
    def agrees(self) -> bool:
        """Whether every published figure of the row is equal to ours."""
        return self.row.params == self.ours.params and self.row.computations == self.computations

    @property
    def explained(self) -> bool:
        """Whether the row agrees, or says why the authors' code does not give the published figure either."""
        return self.agrees or self.row.note is not None

    def to_json(self) -> dict[str, Any]:
        return {
            "table": self.row.table,
            "network": self.row.network,
            "classes": self.row.classes if self.row.recipe else None,
            "input_size": [3, self.row.side, self.row.side] if self.row.recipe else None,
            "skip_strides": self.row.skip_strides,
            "params": {"published": self.row.params, "ours": self.ours.params},
            "computations": {"published": self.row.computations, "ours": self.computations},
            "accuracy": self.row.accuracy,
            "agrees": self.agrees,
            "note": self.row.note,
        }


@dataclass(frozen=True)
class CheckedTables:
    """Rows of one or more tables, checked."""

    rows: tuple[CheckedRow, ...]

    @property
    def by_table(self) -> dict[str, list[CheckedRow]]:
        """The rows of each table, in the order in which the tables first appear."""
        tables: dict[str, list[CheckedRow]] = {}
        for row in self.rows:
            tables.setdefault(row.row.table, []).append(row)
        return tables

    @property
    def unexplained(self) -> tuple[CheckedRow, ...]:
        """The rows that differ for no known reason."""
        return tuple(row for row in self.rows if not row.explained)

    def tally(self) -> str:
        """How many rows agree, in one line."""
        agreeing = sum(row.agrees for row in self.rows)
        explained = sum(row.explained and not row.agrees for row in self.rows)
        notes = f"; {explained} print what the authors' own code does not give: see the notes" if explained else ""
        return f"{agreeing} of {len(self.rows)} rows agree{notes}"

    def to_json(self) -> list[dict[str, Any]]:
        return [row.to_json() for row in self.rows]


def published_rows(part: str | None = None) -> tuple[PublishedRow, ...]:
    """The rows of all tables, or of those whose name holds ``part`` (any case).

    >>> [row.params for row in published_rows("2022 paper, table 6")]
    [4020358, 950650, 950650]
    """
    rows = []
    for entry in json.loads(PUBLISHED.read_text(encoding="utf-8")):
        layer = entry.get("layer")
        rows.append(PublishedRow(**entry | {"layer": tuple(layer) if layer else None}))
    return tuple(row for row in rows if part is None or part.lower() in row.table.lower())


def figures_of(row: PublishedRow) -> Figures:
    """Our figures for the row. Plans the network, and builds nothing."""
    from kswap.conversion import plan
    from kswap.planner.counting import count_plan

    if row.layer:
        return Figures(plan_layer(*row.layer, row.ch or 16, row.scheme or "v2").weights)
    if row.scheme:
        counts = count_plan(row.variant.plan())
    else:
        size = (row.side, row.side)
        counts = plan(
            row.recipe_of.source, input_size=size, num_classes=row.classes, skip_strides=row.skip_strides
        ).before
    return Figures(counts.trainable_params, counts.operations // 2)


def check(
    rows: Iterable[PublishedRow], track: Callable[[list[PublishedRow]], Iterable[PublishedRow]] = iter
) -> tuple[CheckedRow, ...]:
    """Our figures with the published ones. ``track`` wraps the rows to plan, for a progress bar.

    >>> all(checked.agrees for checked in check(published_rows("2022 paper, table 1")))
    True
    """
    wanted = tuple(rows)
    figures = {key: figures_of(key) for key in track(list(dict.fromkeys(row.key for row in wanted)))}
    return tuple(CheckedRow(row, figures[row.key]) for row in wanted)
