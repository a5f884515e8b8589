"""The cases of a study, and the file that each leaves when it is done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kswap.codec import decode, encode
from kswap.errors import StudyError
from kswap.files import read_json, write_text


@dataclass(frozen=True)
class Case:
    """One method at one share of the parameters, with one seed and a number of images seen."""

    method: str
    share: float
    seed: int
    images: int

    @property
    def name(self) -> str:
        """``pruned-8_20_seed0_12000``: the name of its file."""
        return f"{self.network}_seed{self.seed}_{self.images}"

    @property
    def network(self) -> str:
        """``pruned-8_20``: what cases that differ in seed and images have in common."""
        return f"{self.method}_{self.share * 100:g}"


@dataclass(frozen=True)
class CaseResult:
    """What a case measured.

    ``accuracies`` are on the validation pictures, by images seen; ``seconds`` were spent on making the student and on
    all of the distillation; ``macs`` are for one input of the study's size.
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

    def accuracy(self, images: int) -> float | None:
        return self.accuracies.get(str(images))


@dataclass(frozen=True)
class Choice:
    """A learning rate, and the accuracy and loss on the held-out training pictures with each that was tried."""

    method: str
    lr: float
    tried: tuple[float, ...]
    accuracies: tuple[float, ...]
    losses: tuple[float, ...]


def write(path: Path, value: object) -> None:
    """Write a value as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(encode(value), indent=1), StudyError)


def read_result(path: Path) -> CaseResult:
    """Read a case's file. Raises :class:`StudyError`."""
    return decode(CaseResult, read_json(path, StudyError), str(path), StudyError)


def read_choice(path: Path) -> Choice:
    """Read the file of a choice. Raises :class:`StudyError`."""
    return decode(Choice, read_json(path, StudyError), str(path), StudyError)
