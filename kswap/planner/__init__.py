"""Pure arithmetic: what replaces a pointwise convolution, and plans as values. Never imports torch."""

from kswap.planner.layout import GroupedLayout
from kswap.planner.plan import Counts, Plan, SitePlan
from kswap.planner.schemes import SCHEMES, LayerPlan, interleave_order, plan_layer

__all__ = ["SCHEMES", "Counts", "GroupedLayout", "LayerPlan", "Plan", "SitePlan", "interleave_order", "plan_layer"]
