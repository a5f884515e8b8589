"""What a budget may choose for an expansion and its projection together: fewer hidden channels, with blocks or without.

Which channels stay, and the dense layers that are left, come from the projection's inputs in the original
(:mod:`kswap.projection.channels`); blocks of the narrower layers are fitted to these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kswap.budgets.inputs import LayerInputs
from kswap.budgets.narrower import Narrower
from kswap.budgets.options import label_of, options_of
from kswap.budgets.scoring import OutputChange, change_with, evenly, interpolated
from kswap.planner.budget import Cost
from kswap.planner.choices import Choice, Unit, undominated
from kswap.planner.counting import count_site
from kswap.planner.narrowing import Narrowing
from kswap.planner.site_plan import SitePlan
from kswap.projection.channels import eliminate, part_of, refit
from kswap.projection.kinds import fit
from kswap.projection.moments import Moments

# Blocks of each layer at each width.
_OPTIONS = 5


@dataclass(frozen=True)
class Scored:
    """A unit of one site with what was known when it was made.

    ``points`` are pairs of relative error and change of the outputs that were measured at this site, empty where
    errors are the scores.
    """

    unit: Unit
    inputs: LayerInputs
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class _Option:
    """What one layer becomes at one width, with the error of its outputs."""

    site: SitePlan
    error: float
    matrix: Tensor

    @property
    def label(self) -> str:
        return label_of(self.site.layer) if self.site.replaced else "dense"


def with_narrower(
    narrower: Narrower,
    expansion: Scored,
    projection: Scored,
    gates: Sequence[Unit],
    outputs: OutputChange | None,
    element_bytes: int,
    seed: int,
) -> Unit:
    """One unit in the place of those of an expansion, its projection and the gate between them.

    It has all that these have, and fewer hidden channels, each width with the dense layers or with blocks. Scores of
    both layers are added; the projection's error holds what the channels that left have cost.

    Args:
        narrower: the hidden channels.
        expansion: the unit of the layer that makes them.
        projection: the unit of the layer that reads them.
        gates: units of other sites whose layers hold them.
        outputs: measures some of the projections; without it, errors are the scores.
        element_bytes: of one weight.
        seed: of the fits.
    """
    wide = expansion.unit.joined(projection.unit)
    for gate in gates:
        wide = wide.joined(gate)
    per_channel = narrower.per_channel
    # Norms, depthwise convolutions and gates are the unit's too: costs count them per channel.
    rest = Cost(
        per_channel.params * narrower.hidden.width,
        per_channel.macs * narrower.hidden.width,
        element_bytes * per_channel.params * narrower.hidden.width,
    )
    whole = wide.kept.cost + rest
    choices = tuple(replace(choice, cost=choice.cost + rest) for choice in wide.choices)
    fewer = tuple(_choices(narrower, expansion, projection, whole, outputs, element_bytes, seed))
    return Unit(wide.name, (*choices, *undominated(fewer)))  # these may be the quicker ones


def _choices(
    narrower: Narrower,
    expansion: Scored,
    projection: Scored,
    whole: Cost,
    outputs: OutputChange | None,
    element_bytes: int,
    seed: int,
) -> Iterator[Choice]:
    moments = projection.inputs.moments()
    order = eliminate(projection.inputs.weight, moments)
    ways: list[tuple[int, Tensor, _Option]] = []
    made: dict[int, list[_Option]] = {}
    for width, sites in narrower.sites.items():
        keep = order.kept(width)
        left = part_of(moments, keep)
        dense = refit(projection.inputs.weight[:, keep], left)
        ways += [(width, keep, way) for way in _options(sites[narrower.hidden.projection], dense, left, seed)]
        rows = _with_outputs(expansion.inputs.moments(), keep)
        made[width] = list(_options(sites[narrower.hidden.expansion], expansion.inputs.weight[keep], rows, seed))
    ways.sort(key=lambda way: way[2].error)
    scores = _scores(ways, narrower.hidden.projection, projection.inputs, outputs)
    for (width, _, way), score in zip(ways, scores, strict=True):
        others = made[width]
        errors = [other.error for other in others]
        first = interpolated(errors, expansion.points) if expansion.points else errors
        for other, more in zip(others, first, strict=True):
            yield _choice(narrower, width, (other, way), score + more, whole, element_bytes)


def _options(site: SitePlan, weight: Tensor, moments: Moments, seed: int) -> Iterator[_Option]:
    """The dense layer with this weight, and some of its blocks, from few to many weights."""
    yield _Option(site, moments.error(weight), weight)
    options = options_of(site.site) if site.site.keep_reason is None else ()
    for place in evenly(len(options), _OPTIONS):
        found = fit(options[place], weight, moments, seed)
        block = SitePlan(site.site, found.plan, "replace", found.plan.reason, "linear")
        yield _Option(block, moments.error(found.matrix), found.matrix)


def _with_outputs(moments: Moments, keep: Tensor) -> Moments:
    """The moments with the outputs ``keep`` alone."""
    return replace(moments, y_mean=moments.y_mean[keep], yx=moments.yx[keep], yy=moments.yy[keep])


def _scores(
    ways: Sequence[tuple[int, Tensor, _Option]], name: str, known: LayerInputs, outputs: OutputChange | None
) -> Sequence[float]:
    """A score for each of ``ways``, of which some are tried in the network: channels that left have no weights."""
    errors = [way.error for _, _, way in ways]
    if outputs is None:
        return errors
    points = []
    for place in evenly(len(ways)):
        _, keep, way = ways[place]
        matrix = torch.zeros_like(known.weight).index_copy(1, keep, way.matrix)
        points.append((way.error, change_with(outputs, name, matrix, known)))
    return interpolated(errors, points)


def _choice(
    narrower: Narrower,
    width: int,
    both: tuple[_Option, _Option],
    score: float,
    whole: Cost,
    element_bytes: int,
) -> Choice:
    """Fewer channels and what becomes of the two layers; ``whole`` is what everything costs as it is."""
    gone = narrower.hidden.width - width
    counts = [count_site(option.site) for option in both]
    params = sum(count.after.params - count.before.params for count in counts) - gone * narrower.per_channel.params
    macs = sum(count.after.macs - count.before.macs for count in counts) - gone * narrower.per_channel.macs
    sites = {**narrower.sites[width], **{option.site.name: option.site for option in both}}
    labels = " and ".join(option.label for option in both)
    return Choice(
        f"{width} of {narrower.hidden.width} hidden channels, {labels}",
        Cost(whole.params + params, whole.macs + macs, whole.bytes + element_bytes * params),
        score,
        both[1].error,
        sites,
        (Narrowing(narrower.hidden, width),),
    )
