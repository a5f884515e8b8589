"""What a scan found, as a value. Renderers turn it into text and pictures."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kswap.benchmarks.environment import Machine
from kswap.codec import encode
from kswap.report.report import Change
from kswap.scans.fronts import QUANTITIES, Quantity, front_of, pairs_of
from kswap.scans.settings import LatencySettings, PlanningSettings, TrainingSettings
from kswap.scans.trial import Latency, Planned, Trained, Trial
from kswap.version import __version__


@dataclass(frozen=True)
class Row:
    """One network. ``replaced`` of its ``sites`` are blocks; the original has none, and ``kind`` is ``None``.

    ``ms`` is the median of one pass, ``time`` its share of the original's, measured side by side; for the original
    ``ms`` is the median over all comparisons. ``latency`` has the intervals, ``trained`` the accuracy. All of them
    are ``None`` where nothing was measured.
    """

    trial: Trial
    params: Change
    macs: Change
    computations: Change
    replaced: int
    sites: int
    ms: float | None = None
    time: float | None = None
    latency: Latency | None = None
    trained: Trained | None = None

    def value(self, quantity: Quantity) -> float | None:
        """One of :data:`kswap.scans.fronts.QUANTITIES`; ``None`` where it was not measured."""
        values = {
            "params": self.params.after,
            "macs": self.macs.after,
            "time": self.time,
            "ms": self.ms,
            "accuracy": None if self.trained is None else self.trained.top1,
        }
        return values[quantity.key]


@dataclass(frozen=True)
class Scan:
    """All rows of a scan: of each model the original first, and then in the order of kinds, schemes and Ch.

    ``latency`` and ``training`` say how times and accuracies were measured; they are ``None`` where none were.
    ``notes`` name networks that have no row, or lack a time or an accuracy, and why.
    """

    rows: tuple[Row, ...]
    planning: PlanningSettings
    latency: LatencySettings | None = None
    training: TrainingSettings | None = None
    machine: Machine | None = None
    notes: tuple[str, ...] = ()
    command: str = ""

    @property
    def models(self) -> tuple[str, ...]:
        """The models, as they were named."""
        return tuple(dict.fromkeys(row.trial.model for row in self.rows))

    @property
    def pairs(self) -> tuple[tuple[Quantity, Quantity], ...]:
        """What is held against what: parameters and MACs against accuracy, else against time, else each other."""
        return pairs_of(self.latency is not None, self.training is not None)

    @property
    def joint(self) -> bool:
        """Whether networks of all models are held against each other; sizes and times alone say nothing there."""
        return self.training is not None

    @functools.cached_property
    def fronts(self) -> dict[str, tuple[Row, ...]]:
        """The Pareto fronts by the quantity that is held against the other one, from the least of it to the greatest.

        Of all models together where accuracies were measured; otherwise of each model.
        """

        groups: dict[object, list[Row]] = {}
        for row in self.rows:
            groups.setdefault(None if self.joint else row.trial.model, []).append(row)
        return {x.key: tuple(row for rows in groups.values() for row in _front(rows, x, y)) for x, y in self.pairs}

    @property
    def front(self) -> tuple[Row, ...]:
        """The rows that are on any of the fronts, in the order of the rows."""
        chosen = {row for rows in self.fronts.values() for row in rows}
        return tuple(row for row in self.rows if row in chosen)

    def marks(self, row: Row) -> tuple[Quantity, ...]:
        """The quantities on whose fronts a row is."""
        return tuple(QUANTITIES[key] for key, rows in self.fronts.items() if row in rows)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values; keys may be added, and none is renamed."""
        return {
            "kswap": __version__,
            "planning": encode(self.planning),
            "latency": encode(self.latency),
            "training": encode(self.training),
            "machine": encode(self.machine),
            "fronts": [
                {"of": x.key, "against": y.key, "rows": [row.trial.name for row in self.fronts[x.key]]}
                for x, y in self.pairs
            ],
            "rows": [self._row(row) for row in self.rows],
            "notes": list(self.notes),
            "command": self.command,
        }

    def _row(self, row: Row) -> dict[str, Any]:
        counts = {key: getattr(row, key).to_json() for key in ("params", "macs", "computations")}
        return {
            "name": row.trial.name,
            **encode(row.trial),
            **counts,
            **{key: getattr(row, key) for key in ("replaced", "sites", "ms", "time")},
            "latency": encode(row.latency),
            "trained": encode(row.trained),
            "front": [quantity.key for quantity in self.marks(row)],
        }


def rows_of(
    trials: Sequence[Trial],
    planned: Mapping[Trial, Planned],
    latencies: Mapping[Trial, Latency],
    trained: Mapping[Trial, Trained],
) -> tuple[Row, ...]:
    """The rows of those of ``trials`` that have blocks, and of the originals of these."""
    counted = {trial: planned[trial] for trial in trials if trial in planned and planned[trial].replaced}
    found = []
    for trial in trials:
        of_model = [other for other in counted if other.model == trial.model]
        if trial.is_original and of_model:
            first = counted[of_model[0]]
            params, macs, computations = (Change(c.before, c.before) for c in first.counts)
            times = [latencies[other].original.median for other in of_model if other in latencies]
            ms, time = (1000 * statistics.median(times), 1.0) if times else (None, None)
            counts = (params, macs, computations, 0, first.sites)
            found.append(Row(trial, *counts, ms, time, None, trained.get(trial)))
        elif trial in counted:
            own, latency = counted[trial], latencies.get(trial)
            ms, time = (1000 * latency.own.median, 1 / latency.ratio) if latency is not None else (None, None)
            counts = (own.params, own.macs, own.computations, own.replaced, own.sites)
            found.append(Row(trial, *counts, ms, time, latency, trained.get(trial)))
    return tuple(found)


def _front(rows: Sequence[Row], x: Quantity, y: Quantity) -> tuple[Row, ...]:
    points = {}
    for row in rows:
        a, b = row.value(x), row.value(y)
        if a is not None and b is not None:
            points[row] = (a, b)
    return front_of(points, y.more_is_better)
