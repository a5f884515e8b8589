"""What the choices of a budget cost. Costs follow from the plans alone: they are known before anything is fitted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from kswap.budgets.narrower import Narrower
from kswap.budgets.options import label_of, options_of
from kswap.budgets.scoring import evenly
from kswap.planner.block_plan import BlockPlan
from kswap.planner.budget import Cost
from kswap.planner.choices import Choice, Unit
from kswap.planner.counting import count_site
from kswap.planner.narrowing import Narrowing
from kswap.planner.site_plan import SitePlan
from kswap.planner.sites import Site

KEPT = "kept"

# Blocks of each layer at each width of hidden channels.
_OPTIONS = 5


def in_place(site: Site, layer: BlockPlan) -> SitePlan:
    """The site with a block in linear placement: norm and activation stay where they are."""
    return SitePlan(site, layer, "replace", layer.reason, "linear")


def kept_choice(site: SitePlan, element_bytes: int) -> Choice:
    """The layer as it is; ``element_bytes`` are those of one weight."""
    before = count_site(replace(site, placement="linear", activation=None)).before
    return Choice(KEPT, Cost(before.params, before.macs, element_bytes * before.params), error=None)


def block_choice(
    site: Site, layer: BlockPlan, element_bytes: int, score: float = 0.0, error: float | None = None
) -> Choice:
    """A block in the place of the layer."""
    chosen = in_place(site, layer)
    after = count_site(chosen).after
    cost = Cost(after.params, after.macs, element_bytes * after.params)
    return Choice(label_of(layer), cost, score, error, {site.name: chosen})


def some_options(site: SitePlan) -> Iterator[BlockPlan]:
    """Some blocks for a layer with fewer channels, from few to many weights."""
    options = options_of(site.site) if site.site.keep_reason is None else ()
    for place in evenly(len(options), _OPTIONS):
        yield options[place]


def joined(narrower: Narrower, units: Sequence[Unit], element_bytes: int) -> Unit:
    """One unit in the place of those of an expansion, its projection and the gates between them.

    Norms, depthwise convolutions and gates are the unit's too: all its costs count them.
    """
    first, *others = units
    for other in others:
        first = first.joined(other)
    width, per_channel = narrower.hidden.width, narrower.per_channel
    params = per_channel.params * width
    rest = Cost(params, per_channel.macs * width, element_bytes * params)
    return replace(first, choices=tuple(replace(choice, cost=choice.cost + rest) for choice in first.choices))


def narrower_choice(
    narrower: Narrower,
    width: int,
    both: tuple[SitePlan, SitePlan],
    whole: Cost,
    element_bytes: int,
    score: float = 0.0,
    error: float | None = None,
) -> Choice:
    """Fewer channels and what becomes of the two layers; ``whole`` is what everything costs as it is."""
    gone = narrower.hidden.width - width
    counts = [count_site(site) for site in both]
    params = sum(count.after.params - count.before.params for count in counts) - gone * narrower.per_channel.params
    macs = sum(count.after.macs - count.before.macs for count in counts) - gone * narrower.per_channel.macs
    labels = " and ".join(label_of(site.layer) if site.replaced else "dense" for site in both)
    return Choice(
        f"{width} of {narrower.hidden.width} hidden channels, {labels}",
        Cost(whole.params + params, whole.macs + macs, whole.bytes + element_bytes * params),
        score,
        error,
        {**narrower.sites[width], **{site.name: site for site in both}},
        (Narrowing(narrower.hidden, width),),
    )


def costed_units(
    sites: Sequence[SitePlan], narrower: Iterable[Narrower], element_bytes: Mapping[str, int]
) -> tuple[Unit, ...]:
    """All units of a library with their costs, without scores.

    Args:
        sites: those that may change.
        narrower: hidden channels that may become fewer, all of whose layers are among ``sites``.
        element_bytes: those of one weight of each site, by its name.
    """
    units: dict[str, Unit] = {}
    for site in sites:
        width = element_bytes[site.name]
        blocks = (block_choice(site.site, option, width) for option in options_of(site.site))
        units[site.name] = Unit(site.name, (kept_choice(site, width), *blocks))
    for each in narrower:
        hidden, width = each.hidden, element_bytes[each.hidden.expansion]
        names = dict.fromkeys((hidden.expansion, hidden.projection, *each.names))
        wide = joined(each, [units.pop(name) for name in names], width)
        units[wide.name] = wide.adding(*_narrower_choices(each, wide.kept.cost, width))
    return tuple(units.values())


def _narrower_choices(narrower: Narrower, whole: Cost, element_bytes: int) -> Iterator[Choice]:
    for width, sites in narrower.sites.items():
        first, last = (sites[name] for name in (narrower.hidden.expansion, narrower.hidden.projection))
        ends = [in_place(last.site, option) for option in some_options(last)]
        starts = [in_place(first.site, option) for option in some_options(first)]
        for end in (last, *ends):
            for start in (first, *starts):
                yield narrower_choice(narrower, width, (start, end), whole, element_bytes)
