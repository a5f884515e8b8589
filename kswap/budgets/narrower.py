"""Hidden channels that a budget may make fewer, and what the network saves by each of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from torch import nn

from kswap.graph.call import Call
from kswap.graph.clone import meta_clone
from kswap.graph.hidden_channels import find_hidden_channels
from kswap.graph.narrow import narrow_all_
from kswap.graph.observe import observe
from kswap.planner.edits import Edit
from kswap.planner.narrowing import HiddenChannels, Narrowing
from kswap.planner.plan import Counts
from kswap.planner.site_plan import SitePlan
from kswap.planning import PlanSettings, Run, counts_of, plan_of, run_of

# Of the hidden channels, what may stay.
SHARES = (0.75, 0.5, 0.375, 0.25)


@dataclass(frozen=True)
class Narrower:
    """Hidden channels with the widths that they may have.

    ``sites`` holds for each width the sites whose layers become narrower, kept, by their names. ``per_channel`` are the
    counts that the network loses with each channel, in all layers together.
    """

    hidden: HiddenChannels
    sites: Mapping[int, Mapping[str, SitePlan]]
    per_channel: Counts

    @property
    def names(self) -> tuple[str, ...]:
        """The sites whose layers hold the channels."""
        return tuple(dict.fromkeys(name for sites in self.sites.values() for name in sites))


def narrower_of(
    model: nn.Module, title: str, settings: PlanSettings, call: Call, run: Run, edits: tuple[Edit, ...]
) -> tuple[Narrower, ...]:
    """The hidden channels of ``model`` that a budget may make fewer, each layer in one of them at most.

    None where the forward pass needs real numbers. Arguments as of :func:`kswap.planning.plan_of`.
    """
    if run.observation.real:
        return ()
    chosen = _apart(find_hidden_channels(model, run.trace.graph, run.observation).offered)
    before = counts_of(model, run.observation, call)
    sites: dict[str, dict[int, dict[str, SitePlan]]] = {hidden.expansion: {} for hidden in chosen}
    for share in SHARES:
        made = tuple(Narrowing(hidden, width) for hidden in chosen for width in hidden.widths((share,)))
        if not made:
            continue
        clone = meta_clone(model)
        narrow_all_(clone, made)
        plan = plan_of(clone, title, settings, call, run_of(clone, title, call, settings.kinds), edits, made, before)
        for narrowing in made:
            own = {site.name: site for site in plan.sites if site.name in narrowing.hidden.layers}
            sites[narrowing.hidden.expansion][narrowing.channels] = {name: _kept(site) for name, site in own.items()}
    return tuple(
        Narrower(hidden, sites[hidden.expansion], _per_channel(model, call, before, hidden))
        for hidden in chosen
        if sites[hidden.expansion]
    )


def _apart(offered: Iterable[HiddenChannels]) -> tuple[HiddenChannels, ...]:
    """Those that have no layer in common with one before them."""
    chosen: list[HiddenChannels] = []
    taken: set[str] = set()
    for hidden in offered:
        if taken.isdisjoint(hidden.layers):
            chosen.append(hidden)
            taken.update(hidden.layers)
    return tuple(chosen)


def _kept(site: SitePlan) -> SitePlan:
    return replace(site, action="keep", placement="linear", activation=None)


def _per_channel(model: nn.Module, call: Call, before: Counts, hidden: HiddenChannels) -> Counts:
    """Every count is linear in the number of channels: one run with fewer of them tells what each costs."""
    clone = meta_clone(model)
    width = min(hidden.widths(SHARES))
    narrow_all_(clone, (Narrowing(hidden, width),))
    after = counts_of(clone, observe(clone, call), call)
    gone = hidden.width - width
    return Counts(
        params=(before.params - after.params) // gone,
        trainable_params=(before.trainable_params - after.trainable_params) // gone,
        macs=(before.macs - after.macs) // gone,
        operations=(before.operations - after.operations) // gone,
    )
