"""The small network from scratch: every weight is fresh."""

from __future__ import annotations

from kswap.conversion import convert
from kswap.graph.random_state import preserved_random_state
from kswap.loading import original_model
from kswap.studies.transfer.methods.sizing import ch_for
from kswap.studies.transfer.student import Method, Student
from kswap.studies.transfer.subject import Subject


def _build(subject: Subject, share: float, seed: int) -> Student:
    ch = ch_for(subject, share)
    settings = subject.settings
    with preserved_random_state(seed):
        _, fresh = original_model(settings.model, dict(settings.model_kwargs))
    model = convert(fresh, ch, input_size=subject.input_size, seed=seed).model
    return Student(model, frozen_norms=False, note=f"Ch {ch}")


METHOD = Method("all-fresh", "all weights fresh", _build, ours=False)
