"""timm's models with the share of their parameters that pointwise convolutions hold."""

from __future__ import annotations

import csv
import fnmatch
import io
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from kswap.errors import ModelError, nearest

TABLE = Path(__file__).parent / "timm_models.csv"


@dataclass(frozen=True)
class ModelRow:
    """One timm model: parameters in all, and in its dense 1x1 convolutions (weights and biases)."""

    name: str
    params: int
    pointwise_params: int
    pointwise_convolutions: int

    @property
    def share(self) -> float:
        """Share of the parameters that pointwise convolutions hold, 0 to 1."""
        return self.pointwise_params / self.params if self.params else 0.0


def read_table(text: str | None = None) -> dict[str, ModelRow]:
    """The rows that come with kswap, by name, as measured by :func:`measure`."""
    rows = csv.DictReader(io.StringIO(TABLE.read_text(encoding="utf-8") if text is None else text))
    return {
        row["name"]: ModelRow(
            row["name"], int(row["params"]), int(row["pointwise_params"]), int(row["pointwise_convolutions"])
        )
        for row in rows
    }


def write_table(rows: Iterable[ModelRow]) -> str:
    """Rows as CSV, in the form that :func:`read_table` reads.

    >>> rows = [ModelRow("a", 100, 40, 2)]
    >>> read_table(write_table(rows))["a"] == rows[0]
    True
    """
    out = io.StringIO()
    names = [f.name for f in fields(ModelRow)]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([getattr(row, name) for name in names] for row in rows)
    return out.getvalue()


def measure(name: str) -> ModelRow:
    """Build a timm model on the meta device, without weights, and count. Raises :class:`ModelError`."""
    from kswap.graph.match import is_pointwise
    from kswap.sources import parse_source

    model = parse_source(name).build(meta=True)
    convolutions = [module for module in model.modules() if is_pointwise(module)]
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
