"""The groups of scheme v2 with the channel shuffle of ShuffleNet between K and L, to compare with."""

from __future__ import annotations

from dataclasses import replace

from kswap.planner.layer_plan import LayerPlan
from kswap.planner.schemes.scheme import Scheme
from kswap.planner.schemes.v2 import plan_v2


def plan_shuffle(
    in_channels: int, out_channels: int, ch: int, second_layer: bool = True, align: int | None = None
) -> LayerPlan:
    """Layers as in scheme v2, but interleaved by the groups of K: first the first filter of every group, and so on.

    That is ShuffleNet's channel shuffle (reshape to groups x filters, transpose, flatten), an interleave with the
    filters per group as its step. Scheme v2 steps by the filters divided by ``ch`` instead.

    >>> plan_shuffle(1152, 320, 16).short(), plan_v2(1152, 320, 16).short()
    ('K 72x4+32 i4 L 20x16', 'K 72x4+32 i20 L 20x16')
    """
    plan = replace(plan_v2(in_channels, out_channels, ch, second_layer, align), scheme=SCHEME.name)
    if plan.k is None or plan.l is None:
        return plan
    step = plan.k.filters_per_group
    return replace(plan, interleave_step=step if step > 1 else None)


SCHEME = Scheme(
    "shuffle",
    plan_shuffle,
    preset="shufflenet",
    citation=(
        "Zhang, Zhou, Lin, Sun: ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices. "
        "CVPR 2018 (the channel shuffle; the groups are those of scheme v2)"
    ),
    for_comparison=True,
)
