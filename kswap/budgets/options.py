"""What may become of each site: which sites a budget may change, and the blocks that it may choose for them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from kswap.planner.block_plan import BlockPlan
from kswap.planner.kinds import BLOCK_KINDS, plan_block
from kswap.planner.kinds.kind import BlockSettings
from kswap.planner.plan import Plan
from kswap.planner.schemes import SCHEMES
from kswap.planner.site_plan import SitePlan, too_narrow
from kswap.planner.sites import Site
from kswap.planning import PlanSettings
from kswap.rules import decide

CHANNELS_PER_GROUP = (4, 8, 16, 32, 64, 128)


def changeable(plan: Plan, settings: PlanSettings) -> tuple[SitePlan, ...]:
    """The sites of ``plan`` that neither their structure nor the rules of ``settings`` keep.

    Args:
        plan: made by :func:`kswap.planning.plan_of` with ``settings``; sites that are only too narrow for its Ch count.
        settings: rules that set Ch, scheme, kind or rank do not bind a budget, only those that keep a site do.
    """
    return tuple(
        site
        for site in plan.sites
        if site.site.keep_reason is None
        and not decide(settings.rules, site.site, settings.block).keep
        and (site.replaced or not site.layer.replaces)
    )


def options_of(site: Site) -> tuple[BlockPlan, ...]:
    """All blocks that a budget may choose for ``site``, each layout once, from the fewest to the most weights.

    Every kind of block at Ch 4 to 128 in every scheme. Kinds with a rank have the ranks with about the weights of the
    grouped blocks of scheme v2 at these Ch, and one more between each two of them, and between the last one and the
    rank that saves nothing. Only blocks with fewer weights than the layer has.

    >>> options = options_of(Site("conv", 64, 48))
    >>> [plan.short() for plan in options if plan.kind == "low-rank"]
    ['rank 3', 'rank 5', 'rank 7', 'rank 10', 'rank 14', 'rank 19']
    """
    found: dict[tuple[object, ...], BlockPlan] = {}
    for layer in (*_by_settings(site), *_by_rank(site)):
        if layer.replaces and too_narrow(site, layer) is None and layer.weights < layer.dense_weights:
            shape = layer.shape_to_json()
            found.setdefault((layer.kind, *(str(shape[key]) for key in BLOCK_KINDS[layer.kind].layout_keys)), layer)
    return tuple(sorted(found.values(), key=lambda layer: layer.weights))


def _by_settings(site: Site) -> Iterator[BlockPlan]:
    """The kinds that have no rank."""
    for kind in (kind.name for kind in BLOCK_KINDS.values() if "rank" not in kind.layout_keys):
        for scheme in [name for name in reversed(SCHEMES) if not SCHEMES[name].for_comparison]:
            for ch in CHANNELS_PER_GROUP:
                yield plan_block(site.in_channels, site.out_channels, BlockSettings(kind=kind, ch=ch, scheme=scheme))


def _by_rank(site: Site) -> Iterator[BlockPlan]:
    """The kinds that have a rank."""
    both = site.in_channels + site.out_channels
    for kind in (kind.name for kind in BLOCK_KINDS.values() if "rank" in kind.layout_keys):
        settings = [BlockSettings(kind=kind, ch=ch) for ch in CHANNELS_PER_GROUP]
        planned = [plan_block(site.in_channels, site.out_channels, own) for own in settings]
        ranks = {round(plan.weights / both) for plan in planned if plan.replaces}
        ends = sorted(ranks | {(site.in_channels * site.out_channels - 1) // both})
        between = {round(math.sqrt(low * high)) for low, high in itertools.pairwise(ends)}
        for rank in sorted((ranks | between) - {0}):
            yield plan_block(site.in_channels, site.out_channels, BlockSettings(kind=kind, rank=rank))


def label_of(layer: BlockPlan) -> str:
    """The block in a few words, different for different options of a site.

    >>> label_of(plan_block(64, 48, BlockSettings(kind="low-rank", rank=8)))
    'low-rank 8'
    >>> label_of(plan_block(64, 48, BlockSettings(ch=8)))
    'grouped v2 Ch 8'
    """
    rank = layer.shape_to_json().get("rank")
    return f"{layer.kind} {layer.shape_to_json()['scheme']} Ch {layer.ch}" if rank is None else f"{layer.kind} {rank}"
