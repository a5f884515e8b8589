"""Weights of blocks derived from the layers that they replace, site by site in the order of the network."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from kswap.graph.modes import evaluating
from kswap.graph.splice import Replacement, put_, undo_
from kswap.nn.affine import affine_of
from kswap.nn.pointwise import channel_dim, channels_of, stride_of
from kswap.planner.plan import Plan
from kswap.progress import progress_bar
from kswap.projection.calibration import Calibration
from kswap.projection.kinds import fit, write_, write_absorbed_
from kswap.projection.moments import Moments, MomentSums
from kswap.projection.norms import is_matched, match_norm_
from kswap.projection.walk import MOST_KEPT, Walk, walk_of
from kswap.report.projection import ProjectionRecord, SiteError

# Positions per site that the moments are taken from; a random part of a larger map stands for all of it.
_MOST_POSITIONS = 400_000


def project_(
    converted: nn.Module,
    original: nn.Module,
    plan: Plan,
    replacements: Sequence[Replacement],
    calls: Mapping[str, int],
    calibration: Calibration,
    seed: int = 0,
    progress: bool = True,
    most_kept: int = MOST_KEPT,
) -> tuple[Plan, ProjectionRecord]:
    """Fit every block of ``converted`` to the outputs that the layer it replaces has in the original, in place.

    The sites are visited in the order of the network. Each block is fitted to the original's outputs, for the inputs
    that it gets in the converted network, whose earlier blocks are fitted already. Running statistics of norms that
    follow are matched as they are passed (:func:`kswap.projection.norms.match_norm_`).

    Args:
        converted: holds the blocks; all of them have to be new.
        original: of the same structure, before the surgery.
        plan: what the blocks were made from.
        replacements: what the surgery has replaced.
        calls: how often one forward pass calls each module, by name, in the order of their first calls.
        calibration: the samples.
        seed: draws the positions of large maps, and is passed to the fits.
        progress: whether a bar is drawn.
        most_kept: bytes of intermediate results that may be kept; beyond that, time is traded for memory.

    Returns:
        The plan, with the assignments that fits have made, and the error at each site.
    """
    begin = time.perf_counter()
    waiting = {done.name: done for done in replacements}
    undo_(converted, replacements)
    device = next(iter(original.parameters())).device
    batches = [call.to(device) for call in calibration.batches]
    stops = _stops(original, waiting, calls)
    sites, errors = {site.name: site for site in plan.sites}, []
    generator = torch.Generator().manual_seed(seed)
    with evaluating(converted, original), progress_bar("projecting", len(stops), shown=progress) as bar:
        walk = walk_of(original, converted, batches, stops, calls, most_kept)
        for name in stops:
            if name in waiting:
                done = waiting.pop(name)
                bar.label(f"projecting {name}")
                fitted_plan, error = _project_site_(done, walk, original, calibration, generator, seed)
                put_(converted, done)
                sites[name] = replace(sites[name], layer=fitted_plan)
                errors.append(SiteError(name, error))
            else:
                match_norm_(converted.get_submodule(name), walk.inputs_of(name))
            bar.advance()
    for done in waiting.values():  # no forward pass reaches them
        put_(converted, done)
    record = ProjectionRecord(calibration.samples, seed, round(time.perf_counter() - begin, 3), tuple(errors))
    return replace(plan, sites=tuple(sites.values())), record
