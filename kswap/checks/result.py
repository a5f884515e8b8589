"""What a check found, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kswap.planner.budget import Limit
from kswap.report.report import Report, SiteRow
from kswap.report.wording import TOTAL_LABELS, percent

LABELS = {"params": "parameters", "macs": TOTAL_LABELS["macs"], "bytes": "bytes", "ms": "milliseconds"}


@dataclass(frozen=True)
class CheckedLimit:
    """One limit of one conversion: at most ``most``, and ``now`` it is; ``before`` is the original's.

    Times are in milliseconds.
    """

    quantity: str
    limit: Limit
    most: float
    now: float
    before: float

    @property
    def passed(self) -> bool:
        return self.now <= self.most

    @property
    def label(self) -> str:
        return LABELS[self.quantity]

    @property
    def asked(self) -> str:
        """The limit as a reader is shown it: ``20.0% = 804,071``."""
        share = f"{percent(self.limit.value)} = " if self.limit.relative else ""
        return f"{share}{self.shown(self.most)}"

    def shown(self, number: float) -> str:
        return f"{number:.3g}" if self.quantity == "ms" else f"{number:,.0f}"

    def to_json(self) -> dict[str, Any]:
        return {
            "quantity": self.quantity,
            "limit": self.limit.value * (1000 if self.quantity == "ms" and not self.limit.relative else 1),
            "relative": self.limit.relative,
            "most": self.most,
            "now": self.now,
            "before": self.before,
            "passed": self.passed,
        }


@dataclass(frozen=True)
class Costly:
    """A site that costs much of one total, or, without a ``row``, all that is outside of the sites."""

    name: str
    cost: int
    share: float
    row: SiteRow | None = None

    @property
    def plan(self) -> str:
        """What stands there now, in short."""
        if self.row is None:
            return ""
        return self.row.short() if self.row.replaced else f"kept: {self.row.reason}"

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "cost": self.cost, "share": round(self.share, 6), "plan": self.plan}


OUTSIDE = "outside of the sites"


@dataclass(frozen=True)
class CheckedConversion:
    """One saved conversion and its limits; ``why`` holds what costs most, by the key of a total."""

    place: str
    model: str
    limits: tuple[CheckedLimit, ...]
    why: dict[str, tuple[Costly, ...]]

    @property
    def passed(self) -> bool:
        return all(limit.passed for limit in self.limits)

    def to_json(self) -> dict[str, Any]:
        return {
            "place": self.place,
            "model": self.model,
            "passed": self.passed,
            "limits": [limit.to_json() for limit in self.limits],
            "why": {key: [site.to_json() for site in sites] for key, sites in self.why.items()},
        }


@dataclass(frozen=True)
class Check:
    """All conversions that were checked against the budgets of ``file``; ``measured`` says where times are from."""

    file: str
    conversions: tuple[CheckedConversion, ...]
    measured: str = ""

    @property
    def passed(self) -> bool:
        return all(one.passed for one in self.conversions)

    @property
    def summary(self) -> str:
        """One line that says how it went."""
        over = [f"{one.place}: {limit.label}" for one in self.conversions for limit in one.limits if not limit.passed]
        count = len(self.conversions)
        if not over:
            return f"within budget ({count} conversion{'' if count == 1 else 's'} checked)"
        return f"over budget: {', '.join(over)}"

    def to_json(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "budget": self.file,
            "measured": self.measured,
            "conversions": [one.to_json() for one in self.conversions],
        }


def costly_sites(report: Report, key: str, count: int) -> tuple[Costly, ...]:
    """The ``count`` parts of the converted model that have most of ``"params"`` or ``"macs"``, largest first.

    All that belongs to no site (the classifier, depthwise convolutions) is one part.
    """
    total = report.totals[key].after
    costs = [(getattr(row, f"{key}_after"), row) for row in report.sites]
    parts = [Costly(row.name, cost, cost / max(total, 1), row) for cost, row in costs]
    rest = total - sum(cost for cost, _ in costs)
    if rest > 0:
        parts.append(Costly(OUTSIDE, rest, rest / max(total, 1)))
    return tuple(sorted(parts, key=lambda part: -part.cost)[:count])
