"""The parameters of every site in the order of the network: above those before, below those after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kswap.report.html.sites import SiteView

LEAST = 0.6  # percent of the height that a bar has at least: what is not zero can be seen


@dataclass(frozen=True)
class Bar:
    """One site; heights are percent of the highest bar on the same side."""

    view: SiteView
    before: float
    after: float


@dataclass(frozen=True)
class Chart:
    """The bars, and what the highest one stands for on each side: each side has a scale of its own."""

    bars: tuple[Bar, ...]
    highest_before: int
    highest_after: int

    @classmethod
    def of(cls, views: Sequence[SiteView]) -> Chart:
        highest_before = max((view.params.before for view in views), default=0)
        highest_after = max((view.params.after for view in views), default=0)
        return cls(
            tuple(
                Bar(view, _height(view.params.before, highest_before), _height(view.params.after, highest_after))
                for view in views
            ),
            highest_before,
            highest_after,
        )

    @property
    def magnified(self) -> float:
        """How many times larger the scale below is."""
        return self.highest_before / self.highest_after if self.highest_after else 1.0


def _height(count: int, highest: int) -> float:
    return max(round(100 * count / highest, 1), LEAST) if count else 0.0
