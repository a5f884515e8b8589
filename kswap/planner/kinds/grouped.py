"""The grouped kind, that of the papers: K, a channel interleave, L, and the sum."""

from __future__ import annotations

from kswap.planner.kinds.kind import BlockKind, BlockSettings
from kswap.planner.layer_plan import LayerPlan
from kswap.planner.schemes import plan_layer


def plan_grouped(in_channels: int, out_channels: int, settings: BlockSettings) -> LayerPlan:
    """The layout that the scheme of the settings makes; see :func:`kswap.planner.plan_layer`.

    >>> plan_grouped(1152, 320, BlockSettings()).short()
    'K 72x4+32 i20 L 20x16'
    """
    asked = settings.second_layer, settings.sum, settings.align
    return plan_layer(in_channels, out_channels, settings.ch, settings.scheme, *asked)


KIND = BlockKind(
    "grouped",
    "grouped pointwise convolution K, channel interleave, grouped pointwise convolution L, and the sum K + L",
    plan_grouped,
    LayerPlan,
    setting_keys=("ch", "scheme", "second_layer", "sum", "align"),
    layout_keys=("k", "interleave_step", "l"),
)
