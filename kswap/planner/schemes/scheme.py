"""What an entry of the registry of schemes brings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kswap.planner.layer_plan import LayerPlan

# Input channels, output channels, channels per group, whether a second layer is wanted, what groups are aligned to.
Arithmetic = Callable[[int, int, int, bool, int | None], LayerPlan]


@dataclass(frozen=True)
class Scheme:
    """One way to choose groups.

    ``arithmetic`` takes integers and returns a :class:`LayerPlan`; ``preset`` names the rule file that applies when
    a caller names the scheme and no rules; ``citation`` is one line. A scheme ``for_comparison`` is used where it is
    asked for by name, and no search over all schemes takes it in.
    """

    name: str
    arithmetic: Arithmetic
    preset: str
    citation: str
    for_comparison: bool = False
