"""Settings that give networks of other kinds a wanted number of parameters, so that they can be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from kswap.errors import PlanError

Setting = TypeVar("Setting", int, float)

_AROUND = 3  # settings tried on either side of what bisecting found: counts may go down a little in between


@dataclass(frozen=True)
class Matched(Generic[Setting]):
    """A setting, and the parameters of the network that has it."""

    setting: Setting
    params: int


def match_params(
    params_of: Callable[[Setting], int], settings: Sequence[Setting], wanted: int, tolerance: float = 0.02
) -> Matched[Setting]:
    """The setting whose network comes nearest to ``wanted`` parameters.

    Found by bisecting, and among the neighbours of what that finds; each setting is counted at most once.

    Args:
        params_of: parameters of the network with a setting, such as channels per group (of K alone, of low rank), a
            rank, or timm's ``channel_multiplier`` of a narrower network; :func:`kswap.plan` counts without building.
        settings: in rising order of parameters, as far as that goes: ``range(1, 257)`` for channels per group.
        wanted: parameters.
        tolerance: the greatest share of ``wanted`` by which they may differ.

    Raises:
        PlanError: where there are no settings, or none comes that near.

    >>> match_params(lambda ch: 1000 + 90 * ch, range(1, 100), wanted=2700)
    Matched(setting=19, params=2710)
    """
    if not settings:
        raise PlanError("there are no settings to choose from")
    known: dict[int, int] = {}

    def count(index: int) -> int:
        if index not in known:
            known[index] = params_of(settings[index])
        return known[index]

    low, high = 0, len(settings) - 1
    while low < high:
        middle = (low + high) // 2
        if count(middle) < wanted:
            low = middle + 1
        else:
            high = middle
    near = range(max(0, low - _AROUND), min(len(settings), low + _AROUND + 1))
    best = min(near, key=lambda index: abs(count(index) - wanted))
    if abs(count(best) - wanted) > tolerance * wanted:
        raise PlanError(
            f"no setting from {settings[0]} to {settings[-1]} comes within {tolerance:.0%} of {wanted:,} parameters: "
            f"the nearest is {settings[best]} with {count(best):,}"
        )
    return Matched(settings[best], count(best))
