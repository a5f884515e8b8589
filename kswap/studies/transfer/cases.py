"""The cases of a study, and what each measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One method at one share of the parameters, with one seed and a number of images seen.

    >>> Case("pruned-8", 0.2, 0, 12_000).name
    'pruned-8_20_seed0_12000'
    """

    method: str
    share: float
    seed: int
    images: int

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.network}_seed{self.seed}_{self.images}"

    @property
    def network(self) -> str:
        """What cases that differ in seed and images have in common: ``pruned-8_20``."""
        return f"{self.method}_{self.share * 100:g}"


@dataclass(frozen=True)
class CaseResult:
    """What a case measured.

    ``accuracies`` are on the validation pictures, by images seen; ``build_seconds`` were spent on making the student,
    ``seconds`` on distilling it; ``macs`` are for one input of the study's size.
    """

    case: Case
    note: str
    params: int
    macs: int
    lr: float
    frozen_norms: bool
    accuracies: Mapping[str, float]
    build_seconds: float
    seconds: float
