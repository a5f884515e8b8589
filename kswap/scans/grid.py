"""Which networks a scan consists of."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kswap.errors import PlanError, wording
from kswap.planner.kinds import check_kind
from kswap.planner.schemes import check_ch, check_scheme
from kswap.rules import RuleSet
from kswap.scans.trial import Trial

CHANNELS_PER_GROUP = (4, 8, 16, 32)


@dataclass(frozen=True)
class Grid:
    """Every kind of block with every scheme and every Ch.

    >>> len(Grid((4, 8), ("v1", "v2"), ("grouped",)).trials("resnet50"))
    5
    """

    ch: tuple[int, ...]
    schemes: tuple[str, ...]
    kinds: tuple[str, ...]

    def __post_init__(self) -> None:
        for label, check in (("ch", check_ch), ("schemes", check_scheme), ("kinds", check_kind)):
            values = getattr(self, label)
            if not values:
                raise PlanError(f"a scan needs at least one {label.rstrip('s')}")
            object.__setattr__(self, label, tuple(dict.fromkeys(check(value) for value in values)))

    @classmethod
    def of(cls, ch: Any, schemes: Any, kinds: Any) -> Grid:
        """From one value or several of each. Raises :class:`PlanError`."""
        return cls(*(_several(given) for given in (ch, schemes, kinds)))

    def trials(self, model: str) -> tuple[Trial, ...]:
        """The original of ``model`` and all its networks."""
        made = itertools.product(self.kinds, self.schemes, self.ch)
        return (Trial(model), *(Trial(model, *settings) for settings in made))

    def check_rules(self, rules: RuleSet) -> None:
        """Refuse rules whose head sets what is scanned over (:class:`PlanError`)."""
        asked: dict[str, Sequence[object]] = {"ch": self.ch, "scheme": self.schemes, "kind": self.kinds}
        for label, values in asked.items():
            stated = getattr(rules.defaults, label)
            if stated is not None and tuple(values) != (stated,):
                how = wording(f"{label}={stated!r}", f"--{label} {stated}")
                raise PlanError(
                    f"the rules {rules.name} set {label} = {stated} everywhere: scan with {how} alone, or take it out "
                    "of the rules"
                )


def _several(given: Any) -> tuple[Any, ...]:
    return tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
