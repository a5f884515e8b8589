"""Which number of channels per group leaves a share of a network's parameters."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from kswap.conversion import plan
from kswap.errors import PlanError, StudyError
from kswap.planner.counting import count_plan
from kswap.studies.transfer.subject import Subject

_CHOICES = (4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192)


def ch_for(subject: Subject, share: float, **settings: Any) -> int:
    """The largest Ch with which at most ``share`` of the parameters are left; ``settings`` as for ``kswap.plan``.

    Raises :class:`StudyError` where even the smallest leaves more.
    """

    def params(ch: int) -> int:
        try:
            return count_plan(plan(subject.model, ch, input_size=subject.input_size, **settings)).params
        except PlanError:  # nothing is replaced
            return subject.params

    fitting = bisect_right(_CHOICES, share * subject.params, key=params)
    if not fitting:
        raise StudyError(f"no Ch leaves {share:.0%} of the parameters of {subject.settings.model}")
    return _CHOICES[fitting - 1]
