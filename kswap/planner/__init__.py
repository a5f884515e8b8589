"""Pure arithmetic: what replaces a pointwise convolution, and plans as values. Never imports torch."""

from kswap.planner.kinds import BLOCK_KINDS, plan_block
from kswap.planner.kinds.kind import BlockSettings
from kswap.planner.layer_plan import LayerPlan, interleave_order
from kswap.planner.layout import GroupedLayout
from kswap.planner.plan import Counts, Plan
from kswap.planner.schemes import SCHEMES, plan_layer
from kswap.planner.site_plan import SitePlan

__all__ = [
    "BLOCK_KINDS",
    "SCHEMES",
    "BlockSettings",
    "Counts",
    "GroupedLayout",
    "LayerPlan",
    "Plan",
    "SitePlan",
    "interleave_order",
    "plan_block",
    "plan_layer",
]
