"""One network of a scan, and what became of it, as values that are stored in a file each."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from kswap.report.report import Change
from kswap.timing import Spread, TimeComparison

ORIGINAL = "original"


@dataclass(frozen=True)
class Trial:
    """A model, and what its pointwise convolutions are replaced by; the original itself where ``kind`` is ``None``.

    >>> Trial("resnet50", "grouped", "v2", 16).name, Trial("resnet50").name
    ('resnet50-grouped-v2-16', 'resnet50-original')
    """

    model: str
    kind: str | None = None
    scheme: str | None = None
    ch: int | None = None

    @property
    def is_original(self) -> bool:
        """Whether nothing is replaced."""
        return self.kind is None

    @property
    def name(self) -> str:
        """The name of its files, which no other trial has."""
        plain = re.sub(r"[^\w.-]+", "-", self.model, flags=re.ASCII)
        if plain != self.model:
            plain = f"{plain[-60:]}-{hashlib.sha256(self.model.encode()).hexdigest()[:8]}"
        return f"{plain}-{ORIGINAL}" if self.is_original else f"{plain}-{self.kind}-{self.scheme}-{self.ch}"

    def __str__(self) -> str:
        """For a reader: ``resnet50, grouped, v2, Ch 16``."""
        return f"{self.model}, {ORIGINAL}" if self.is_original else f"{self.model}, {self.setting}"

    @property
    def setting(self) -> str:
        """What was asked for, without the model: ``grouped, v2, Ch 16``."""
        return ORIGINAL if self.is_original else f"{self.kind}, {self.scheme}, Ch {self.ch}"


@dataclass(frozen=True)
class Planned:
    """The counts of a planned network beside those of its original.

    ``replaced`` of the ``sites`` become blocks. ``note`` says why where there are none.
    """

    params: Change
    macs: Change
    computations: Change
    replaced: int
    sites: int
    note: str = ""

    @property
    def counts(self) -> tuple[Change, Change, Change]:
        """Parameters, MACs and computations."""
        return self.params, self.macs, self.computations


@dataclass(frozen=True)
class Latency(TimeComparison):
    """Seconds of one pass beside those of the original, measured in turns in one process."""

    original: Spread
    own: Spread


@dataclass(frozen=True)
class Trained:
    """What training came to.

    ``top1`` is the accuracy, from 0 to 1, of the weights that the recipe keeps; ``top1_hflip`` is that with the
    mirrored pictures. ``seconds`` are those of the steps.
    """

    top1: float
    top1_hflip: float
    epochs: float
    seconds: float
    images_per_second: float
