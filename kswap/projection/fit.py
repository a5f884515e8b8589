"""What a fit of one block returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from kswap.planner.block_plan import BlockPlan


@dataclass(frozen=True)
class Fit:
    """The block of ``plan``, fitted to a trained layer.

    ``matrix`` is the linear map ``(F, Ic)`` of the whole block, in float64. ``parts`` are the matrices of which it is
    made, by names that the kind knows (``"k"`` and ``"l"``, ``"down"`` and ``"up"``). ``errors`` is the objective
    after every half-step, which never rises. ``plan`` may say more than the plan that was fitted (an assignment of
    groups, say).
    """

    plan: BlockPlan
    matrix: Tensor
    parts: dict[str, Tensor]
    errors: tuple[float, ...] = field(default=())
