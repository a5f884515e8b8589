"""A small network, and a plan of assigned blocks for it with orders as a fit might find them."""

from __future__ import annotations

import random
from dataclasses import replace

import kswap
from kswap.planner.kinds.assigned import AssignedPlan

NAME = "test_efficientnet"
SIZE = (64, 64)


def assigned_at_random(plan: AssignedPlan, seed: int = 0) -> AssignedPlan:
    """The plan with orders as a fit might find them: places that are read twice stay behind their own group."""
    rng = random.Random(seed)
    names = rng.sample(range(plan.in_channels), plan.in_channels)
    reads = tuple(names[channel] for channel in plan.read_order())
    return replace(plan, reads=reads, writes=tuple(rng.sample(range(plan.out_channels), plan.out_channels)))


def plan_with_orders() -> kswap.Plan:
    made = kswap.plan(NAME, ch=4, kind="assigned", num_classes=5, input_size=SIZE)
    sites = [replace(s, layer=assigned_at_random(s.layer)) if s.replaced else s for s in made.sites]
    return replace(made, sites=tuple(sites))
