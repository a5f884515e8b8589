"""Blocks with fresh weights in a network that keeps all its others: what ``--pretrained`` alone gives."""

from __future__ import annotations

from kswap.conversion import convert
from kswap.studies.transfer.methods.sizing import ch_for
from kswap.studies.transfer.student import Method, Student
from kswap.studies.transfer.subject import Subject


def _build(subject: Subject, share: float, seed: int) -> Student:
    ch = ch_for(subject, share)
    model = convert(subject.model, ch, input_size=subject.input_size, seed=seed).model
    return Student(model.requires_grad_(True), frozen_norms=False, note=f"Ch {ch}")


METHOD = Method("blocks-fresh", "K and L fresh, the rest as trained", _build, ours=False)
