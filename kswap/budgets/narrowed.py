"""What a budget may choose for an expansion and its projection together: fewer hidden channels, with blocks or without.

Which channels stay, and the dense layers that are left, come from the projection's inputs in the original
(:mod:`kswap.projection.channels`); blocks of the narrower layers are fitted to these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kswap.budgets.costed import in_place, joined, narrower_choice, some_options
from kswap.budgets.inputs import LayerInputs
from kswap.budgets.narrower import Narrower
from kswap.budgets.scoring import OutputChange, change_with, evenly, interpolated
from kswap.planner.choices import Unit, undominated
from kswap.planner.site_plan import SitePlan
from kswap.projection.channels import eliminate, part_of, refit
from kswap.projection.kinds import fit
from kswap.projection.moments import Moments


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
    wide = joined(narrower, (expansion.unit, projection.unit, *gates), element_bytes)
    whole = wide.kept.cost
    fewer = tuple(
        narrower_choice(narrower, width, sites, whole, element_bytes, score, error)
        for width, sites, score, error in _ways(narrower, expansion, projection, outputs, seed)
    )
    return wide.adding(*undominated(fewer))  # these may be the quicker ones


def _ways(
    narrower: Narrower, expansion: Scored, projection: Scored, outputs: OutputChange | None, seed: int
) -> Iterator[tuple[int, tuple[SitePlan, SitePlan], float, float]]:
    """Each width with what becomes of the expansion and of the projection, the score of both, and the error."""
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
            yield width, (other.site, way.site), score + more, way.error


def _options(site: SitePlan, weight: Tensor, moments: Moments, seed: int) -> Iterator[_Option]:
    """The dense layer with this weight, and some of its blocks, from few to many weights."""
    yield _Option(site, moments.error(weight), weight)
    for option in some_options(site):
        found = fit(option, weight, moments, seed)
        yield _Option(in_place(site.site, found.plan), moments.error(found.matrix), found.matrix)


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
