"""Which form of a block is the quickest: measured in the runtime that will run it, or estimated."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from kswap.deploy.targets import prepare

from kswap.deploy.folded import FoldedBlock
from kswap.deploy.forms import Form, estimated_best, likely
from kswap.deploy.timing import interleaved
from kswap.nn import PointwiseBlock

# Forms that are measured, at most. To compile one takes inductor seconds.
_MOST_FORMS = {"inductor": 3}
_MOST_FORMS_ELSE = 7

_SECONDS = 0.5
_ROUNDS = 300
_LEAST_ROUNDS = 5

# A form has to be measured this much quicker than the dense one.
_CLEARLY = 0.97


@dataclass(frozen=True)
class Choice:
    """The form that was taken, and the seconds of every form that was measured (empty: it was estimated)."""

    form: Form
    seconds: Mapping[str, float] = field(default_factory=dict)


def estimated(forms: tuple[Form, ...]) -> Choice:
    """The choice without measuring."""
    return Choice(estimated_best(forms))


def measured(forms: tuple[Form, ...], inputs: torch.Tensor, target: str, threads: int | None) -> Choice:
    """The quickest of the likely ``forms`` on an input like ``inputs`` in the runtime ``target``."""
    tried = likely(forms, _MOST_FORMS.get(target, _MOST_FORMS_ELSE))
    if len(tried) == 1:
        return Choice(tried[0])
    example = torch.randn_like(inputs)
    runs: dict[str, Callable[[], Any]] = {}
    for form in tried:
        runs[form.name] = prepare(form.build().eval(), (example,), target, threads, quick=True).run
    times = interleaved(runs, rounds=_ROUNDS, seconds=_SECONDS, least=_LEAST_ROUNDS)
    seconds = {name: _undisturbed(values) for name, values in times.items()}
    best = min(tried, key=lambda form: seconds[form.name])
    return Choice(best if seconds[best.name] < _CLEARLY * seconds[tried[0].name] else tried[0], seconds)


def _undisturbed(seconds: list[float]) -> float:
    """The median of the quicker half: what else the machine does only ever makes a pass longer."""
    return statistics.median(sorted(seconds)[: len(seconds) // 2 + 1])


def named(forms: tuple[Form, ...], name: str) -> Choice | None:
    """The choice of an earlier measurement; ``None`` where there is no such form."""
    return next((Choice(form) for form in forms if form.name == name), None)


def key_of(block: PointwiseBlock, folded: FoldedBlock, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """What two blocks have in common when one measurement does for both."""
    return (
        block.plan,
        shape,
        folded.maker,
        repr(folded.after_k),
        repr(folded.after_l),
        repr(folded.shuffle),
    )
