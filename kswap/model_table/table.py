"""timm's models with the share of their parameters that pointwise convolutions hold, and what the sweep found."""

from __future__ import annotations

import csv
import fnmatch
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kswap.codec import encode
from kswap.errors import ModelError, nearest
from kswap.model_table.sweep_row import COLUMNS, SweepRow
from kswap.report.csv_text import csv_text
from kswap.sources.builders import build

if TYPE_CHECKING:
    from torch import nn

TABLE = Path(__file__).parents[1] / "timm_models.csv"


@dataclass(frozen=True)
class ModelRow:
    """One timm model: parameters in all, and in its dense 1x1 convolutions (weights and biases).

    ``sweep`` is what became of it when it was converted at Ch=16 (v2), or ``None`` where that was not tried.
    """

    name: str
    params: int
    pointwise_params: int
    pointwise_convolutions: int
    sweep: SweepRow | None = None

    @property
    def share(self) -> float:
        """Share of the parameters that pointwise convolutions hold, 0 to 1."""
        return self.pointwise_params / self.params if self.params else 0.0

    def to_json(self) -> dict[str, Any]:
        """The row with its share and the ratio of its sweep, rounded to 4 digits."""
        swept = encode(self.sweep) | {"ratio": round(self.sweep.ratio or 0.0, 4)} if self.sweep else None
        return vars(self) | {"share": round(self.share, 4), "sweep": swept}


_ORDERS: dict[str, Callable[[ModelRow], Any]] = {
    "name": lambda row: row.name,
    "share": lambda row: -row.share,
    "ratio": lambda row: (row.sweep.ratio or 1.0) if row.sweep else 1.0,
    "params": lambda row: -row.params,
}


@dataclass(frozen=True)
class ModelTable:
    """Rows of the table of timm's models."""

    rows: tuple[ModelRow, ...]

    def sorted_by(self, key: str) -> ModelTable:
        """The table in the order of ``"name"``, ``"share"`` (largest first), ``"ratio"`` (smallest first) or
        ``"params"`` (largest first)."""
        return ModelTable(tuple(sorted(self.rows, key=_ORDERS[key])))

    def tally(self) -> str:
        """What the table holds, in one line."""
        pointwise = sum(row.pointwise_convolutions > 0 for row in self.rows)
        swept = [row.sweep for row in self.rows if row.sweep]
        passed = sum(found.passed for found in swept)
        return (
            f"{len(self.rows)} models, {pointwise} with pointwise convolutions; "
            f"{len(swept)} swept, {passed} without fault"
        )

    def to_json(self) -> list[dict[str, Any]]:
        return [row.to_json() for row in self.rows]


_COUNTED = tuple(f.name for f in fields(ModelRow) if f.name != "sweep")
# The first two columns of a sweep say again what the table's first two say.
_SWEPT = tuple(name for name in COLUMNS if name not in ("model", "params_before"))


def _row(line: Mapping[str, str]) -> ModelRow:
    row = ModelRow(
        line["name"], int(line["params"]), int(line["pointwise_params"]), int(line["pointwise_convolutions"])
    )
    if not line.get("checked"):
        return row
    swept = {name: line[name] for name in _SWEPT}
    return replace(row, sweep=SweepRow.from_csv(swept | {"model": row.name, "params_before": line["params"]}))


def read_table(text: str | None = None) -> dict[str, ModelRow]:
    """The rows that come with kswap, by name, as measured by :func:`measure` and by ``kswap sweep``."""
    lines = csv.DictReader(io.StringIO(TABLE.read_text(encoding="utf-8") if text is None else text))
    return {line["name"]: _row(line) for line in lines}


def write_table(rows: Iterable[ModelRow]) -> str:
    """Rows as CSV, in the form that :func:`read_table` reads.

    >>> rows = [ModelRow("a", 100, 40, 2), ModelRow("b", 100, 40, 2, SweepRow("b", 100, 70, path="fx"))]
    >>> list(read_table(write_table(rows)).values()) == rows
    True
    """
    columns = (*_COUNTED, *_SWEPT)
    return csv_text(columns, (_line(row) for row in rows))


def _line(row: ModelRow) -> dict[str, Any]:
    swept = {name: getattr(row.sweep, name) if row.sweep else "" for name in _SWEPT}
    return {name: getattr(row, name) for name in _COUNTED} | swept


def merged(table: Mapping[str, ModelRow], sweep: Mapping[str, SweepRow]) -> dict[str, ModelRow]:
    """The table with what a sweep found in the place of what it held before; models without a row keep theirs.

    >>> table = {"a": ModelRow("a", 100, 40, 2)}
    >>> merged(table, {"a": SweepRow("a", 100, 70)})["a"].sweep.ratio
    0.7
    """
    return {name: replace(row, sweep=sweep.get(name, row.sweep)) for name, row in table.items()}


def pointwise_convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    """The dense 1x1 convolutions of ``model`` by name, of whatever class.

    >>> import torch
    >>> list(pointwise_convolutions(torch.nn.Sequential(torch.nn.Conv2d(8, 8, 1), torch.nn.Conv2d(8, 8, 3))))
    ['0']
    """
    from torch import nn

    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and tuple(module.kernel_size) == (1, 1) and module.groups == 1
    }


def measure(name: str) -> ModelRow:
    """Build a timm model on the meta device, without weights, and count. Raises :class:`ModelError`."""
    from kswap.sources.source import parse_source

    model = build(parse_source(name), meta=True)
    convolutions = pointwise_convolutions(model).values()
    return ModelRow(
        name,
        sum(p.numel() for p in model.parameters()),
        sum(p.numel() for conv in convolutions for p in conv.parameters()),
        len(convolutions),
    )


def matching(names: Iterable[str], pattern: str | None) -> list[str]:
    """The names that a pattern means: a glob, or a part of the name. Raises :class:`ModelError` for none.

    >>> matching(["resnet50", "resnet101", "vgg16"], "resnet*")
    ['resnet50', 'resnet101']
    >>> matching(["resnet50", "vgg16"], "vgg")
    ['vgg16']
    """
    known = list(names)
    if pattern is None:
        return known
    glob = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    found = fnmatch.filter(known, glob)
    if not found:
        hint = nearest(pattern, known) or "; `kswap models` lists them all"
        raise ModelError(f"no timm model matches '{pattern}'{hint}")
    return found
