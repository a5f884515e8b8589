"""What the study of families found, as a value. Renderers turn it into text and a picture."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from kswap.benchmarks.result import Benchmark, Row
from kswap.codec import encode
from kswap.studies.families.settings import Settings


@dataclass(frozen=True)
class Measured:
    """The network of one family; ``benchmark`` is ``None`` where it could not be measured, and ``why_not`` says why."""

    family: str
    model: str
    benchmark: Benchmark | None
    why_not: str = ""

    def row(self, target: str) -> Row | None:
        """The comparison in a target, both sides optimised for it."""
        rows = self.benchmark.rows if self.benchmark is not None else ()
        return next((row for row in rows if row.target == target and row.form == "optimised"), None)


@dataclass(frozen=True)
class Summary:
    """All families in one target: how many, the geometric mean of their ratios, and how often each verdict came."""

    target: str
    networks: int
    mean: float
    verdicts: dict[str, int]

    @property
    def text(self) -> str:
        """``onnxruntime: geometric mean 1.25 of 23 networks; 13 faster, 10 no difference``."""
        counts = ", ".join(f"{count} {verdict}" for verdict, count in self.verdicts.items())
        return f"{self.target}: geometric mean {self.mean:.2f} of {self.networks} networks; {counts}"


@dataclass(frozen=True)
class FamilyStudy:
    """Every family that was measured, by name, of as many as there are."""

    settings: Settings
    families: tuple[Measured, ...]
    of: int
    command: str = ""

    json_properties: ClassVar[tuple[str, ...]] = ("summaries",)

    @property
    def summaries(self) -> tuple[Summary, ...]:
        """One for each target in which a network was measured."""
        found = []
        for target in self.settings.targets:
            rows = [row for one in self.families if (row := one.row(target)) is not None]
            if rows:
                mean = statistics.geometric_mean(row.ratio for row in rows)
                counts = Counter(row.verdict for row in rows)
                found.append(Summary(target, len(rows), mean, dict(counts.most_common())))
        return tuple(found)

    def to_json(self) -> Any:
        """All of it as JSON values."""
        return encode(self)

    def remarks(self) -> Sequence[str]:
        """What a reader has to know to judge the numbers."""
        s = self.settings
        lines = [summary.text for summary in self.summaries]
        lines.append(
            f"the smallest network of {len(self.families)} of {self.of} families of timm, of those in which "
            f"something is replaced and that have at most {s.most_gmacs:g} G MACs; Ch {s.ch}, batch {s.batch}, its own "
            "input size, optimised for the target as its original is"
        )
        measured = [one.benchmark for one in self.families if one.benchmark is not None]
        if measured:
            lines += measured[-1].remarks()[:1]
            lines.append(
                "faster or slower only where the 95% interval lies beyond 1 and beyond what two copies of the "
                "original differ by; in brackets the ceiling: the ratio if the replaced layers took no time"
            )
            machine = measured[-1].machine
            lines.append(f"{machine.hardware()}; {machine.software()}; {machine.date}")
        lines += [
            f"{one.family} ({one.model}) could not be measured: {one.why_not}" for one in self.families if one.why_not
        ]
        return lines
