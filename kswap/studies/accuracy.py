"""Accuracies of several seeds."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Accuracy:
    """The accuracies of all seeds, from 0 to 1."""

    values: tuple[float, ...]

    json_properties: ClassVar[tuple[str, ...]] = ("mean",)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    def __str__(self) -> str:
        """The mean, and the least and the greatest where there are several.

        >>> print(Accuracy((0.75,)), Accuracy((0.72, 0.75)))
        0.750 0.735 (0.720-0.750)
        """
        spread = f" ({min(self.values):.3f}-{max(self.values):.3f})" if len(self.values) > 1 else ""
        return f"{self.mean:.3f}{spread}"
