"""What a report says of weights that were carried over: the error at each site, and accuracies."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated

from kswap.codec import Between
from kswap.errors import ReportError, excerpt


@dataclass(frozen=True)
class SiteError:
    """How well the block at a site returns what the original returned there.

    ``error`` is the fraction of variance unexplained on the calibration images: 0 is exact, 1 as bad as a constant.
    It may be larger than 1. Raises :class:`ReportError` for an error that is negative or not finite.
    """

    name: str
    error: float

    def __post_init__(self) -> None:
        if not 0 <= self.error < math.inf:
            raise ReportError(f"the error at '{excerpt(self.name)}' must be a number from 0 on, not {self.error}")


@dataclass(frozen=True)
class Accuracy:
    """Top-1 accuracy, from 0 to 1, after a stage (``"original"``, ``"projected"``, ``"distilled"``).

    ``images`` is how many images were counted, ``data`` where they are from. Raises :class:`ReportError` for an
    accuracy outside of 0 to 1 and for a count below 1.

    >>> round(Accuracy("original", 0.877, 1000).standard_error, 4)
    0.0104
    """

    stage: str
    top1: float
    images: Annotated[int, Between(1, 2**63 - 1)]
    data: str = ""

    def __post_init__(self) -> None:
        stage = excerpt(self.stage)
        if not 0 <= self.top1 <= 1:
            raise ReportError(f"the accuracy of '{stage}' must be from 0 to 1, not {self.top1}")
        if self.images < 1:
            raise ReportError(f"the accuracy of '{stage}' needs at least one image, not {self.images}")

    @property
    def standard_error(self) -> float:
        """The standard error of a share that was counted on ``images`` images."""
        return math.sqrt(self.top1 * (1 - self.top1) / self.images)


@dataclass(frozen=True)
class ProjectionRecord:
    """How the weights of the blocks were derived from those of the original.

    ``images`` is how many samples calibrated the fits, ``seconds`` what they took. ``accuracies`` holds what was
    measured, in the order of the stages. Raises :class:`ReportError` for numbers that cannot be.

    >>> record = ProjectionRecord(320, 0, 20.0, (SiteError("conv1", 0.2), SiteError("conv2", 0.4)))
    >>> round(record.mean_error, 6), record.worst.name
    (0.3, 'conv2')
    """

    images: Annotated[int, Between(1, 2**63 - 1)]
    seed: int
    seconds: float
    sites: tuple[SiteError, ...] = ()
    accuracies: tuple[Accuracy, ...] = ()

    def __post_init__(self) -> None:
        if self.images < 1:
            raise ReportError(f"a projection needs at least one image, not {self.images}")
        if not 0 <= self.seconds < math.inf:
            raise ReportError(f"the seconds of a projection must be a number from 0 on, not {self.seconds}")

    @property
    def by_name(self) -> dict[str, float]:
        """The error of each site that was fitted, by its name."""
        return {site.name: site.error for site in self.sites}

    @property
    def mean_error(self) -> float:
        """The mean of the sites' errors, 0 where no site was fitted."""
        return sum(site.error for site in self.sites) / max(len(self.sites), 1)

    @property
    def worst(self) -> SiteError | None:
        """The site with the largest error, ``None`` where no site was fitted."""
        return max(self.sites, key=lambda site: site.error, default=None)

    def with_accuracy(self, stage: str, top1: float, images: int, data: str = "") -> ProjectionRecord:
        """The record with an accuracy more; one of the same stage on the same data gives way to it.

        >>> record = ProjectionRecord(320, 0, 20.0).with_accuracy("original", 0.877, 1000)
        >>> [accuracy.top1 for accuracy in record.with_accuracy("original", 0.88, 2000).accuracies]
        [0.88]
        """
        measured = Accuracy(stage, top1, images, data)
        others = [accuracy for accuracy in self.accuracies if (accuracy.stage, accuracy.data) != (stage, data)]
        return replace(self, accuracies=(*others, measured))
