"""Blocks of one kind and one size in all places, projected: what a budget site by site is compared with."""

from __future__ import annotations

from functools import partial

from kswap.conversion import convert
from kswap.studies.transfer.methods.sizing import ch_for
from kswap.studies.transfer.student import Method, Student
from kswap.studies.transfer.subject import Subject


def _build(subject: Subject, share: float, seed: int, kind: str) -> Student:
    ch = ch_for(subject, share, kind=kind, init="project")
    inputs, _ = subject.calibration(seed)
    conversion = convert(
        subject.model,
        ch,
        kind=kind,
        init="project",
        calibration=inputs,
        input_size=subject.input_size,
        seed=seed,
        progress=False,
    )
    return Student(conversion.model.requires_grad_(True), frozen_norms=True, note=f"Ch {ch}")


GROUPED = Method("uniform", "K and L projected, one Ch for all", partial(_build, kind="grouped"), ours=True)
LOW_RANK = Method("low-rank", "low rank everywhere, projected", partial(_build, kind="low-rank"), ours=False)
