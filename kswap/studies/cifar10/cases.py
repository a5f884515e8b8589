"""The cases of a study, and what each measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One method with one seed.

    >>> Case("v2-16", 0).name
    'v2-16_seed0'
    """

    method: str
    seed: int

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.method}_seed{self.seed}"


@dataclass(frozen=True)
class CaseResult:
    """What a case measured.

    ``accuracy`` is on the test pictures; ``hflip`` is the same with the probabilities of the mirrored picture added.
    ``macs`` are for one input. ``build_seconds`` were spent on making the network, ``seconds`` on the steps of its
    training, which saw ``images`` images. The layers of blocks learnt at ``structured_lr`` times ``lr``.
    """

    case: Case
    note: str
    params: int
    macs: int
    lr: float
    accuracy: float
    hflip: float
    build_seconds: float
    seconds: float
    images: int
    structured_lr: float = 1.0
