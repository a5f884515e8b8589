"""What a report says of weights that were carried over: the error at each site, and accuracies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from kswap.codec import Between


@dataclass(frozen=True)
class SiteError:
    """How well the block at a site returns what the original returned there.

    ``error`` is the fraction of variance unexplained on the calibration images: 0 is exact, 1 as bad as a constant.
    """

    name: str
    error: float


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy, from 0 to 1, after a stage (``"original"``, ``"projected"``, ``"distilled"``)."""

    stage: str
    top1: float
    images: Annotated[int, Between(1, 2**63 - 1)]
    data: str = ""


@dataclass(frozen=True)
class ProjectionRecord:
    """How the weights of the blocks were derived from those of the original.

    ``images`` is how many samples calibrated the fits, ``seconds`` what they took. ``accuracies`` holds what was
    measured, in the order of the stages.
    """

    images: Annotated[int, Between(1, 2**63 - 1)]
    seed: int
    seconds: float
    sites: tuple[SiteError, ...] = ()
    accuracies: tuple[Accuracy, ...] = ()
