"""Channels pruned by Torch-Pruning, in stages."""

from __future__ import annotations

from functools import partial

from kswap.studies.pruning import PACKAGES, pruned_to
from kswap.studies.transfer.student import Method, Student
from kswap.studies.transfer.subject import Subject

_STAGES = 4


def _build(subject: Subject, share: float, seed: int, round_to: int | None) -> Student:
    inputs, labels = subject.calibration(seed)
    most, title = share * subject.params, subject.settings.model
    model = pruned_to(subject.model, most, inputs, labels, subject.input_size, title, _STAGES, round_to)
    rounded = f", channels in multiples of {round_to}" if round_to else ""
    return Student(model, frozen_norms=False, note=f"Taylor, {_STAGES} stages{rounded}")


_ROUNDED = partial(_build, round_to=8)
ROUNDED = Method("pruned-8", "Torch-Pruning, multiples of 8", _ROUNDED, ours=False, packages=PACKAGES)
UNROUNDED = Method("pruned", "Torch-Pruning", partial(_build, round_to=None), ours=False, packages=PACKAGES)
