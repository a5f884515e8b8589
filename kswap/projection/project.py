"""Weights of blocks derived from the layers that they replace, site by site in the order of the network."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

import torch
from torch import nn

from kswap.graph.device import device_of
from kswap.graph.modes import evaluating
from kswap.graph.splice import Replacement, put_, undo_
from kswap.nn.affine import affine_of
from kswap.nn.pointwise import channel_dim, channels_of
from kswap.planner.block_plan import BlockPlan
from kswap.planner.plan import Plan
from kswap.progress import progress_bar
from kswap.projection.calibration import Calibration
from kswap.projection.hidden import HiddenFit
from kswap.projection.kinds import fit, fit_absorbed, matrix_of, write_, write_absorbed_
from kswap.projection.moments import Moments
from kswap.projection.norms import is_matched, match_norm_
from kswap.projection.positions import Positions
from kswap.projection.walk import MOST_KEPT, walk_of
from kswap.report.projection import ProjectionRecord, SiteError

# Positions per site that the moments are taken from; a random part of a larger map stands for all of it.
_MOST_POSITIONS = 100_000


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
        original: of the same structure, before the surgery and before the narrowings of the plan.
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
    converted.to(device_of(original))  # the layers that are back were not there when it was moved
    sites, errors = {site.name: site for site in plan.sites}, []
    positions = Positions(_MOST_POSITIONS // len(calibration.batches), torch.Generator().manual_seed(seed))
    with ExitStack() as during:
        during.enter_context(evaluating(converted, original))
        hidden = HiddenFit(converted, original, plan.narrowings)
        stops = _stops(original, (*waiting, *hidden.stops), calls)
        bar = during.enter_context(progress_bar("projecting", len(stops), shown=progress))
        walk = walk_of(original, converted, calibration.batches, stops, calls, most_kept)
        for name in stops:
            hidden.choose_(name, walk, positions)
            if name in waiting:
                done = waiting.pop(name)
                bar.label(f"projecting {name}")
                fitted_plan, error = _project_site_(done, hidden.moments(name, walk, positions), seed)
                put_(converted, done)
                sites[name] = replace(sites[name], layer=fitted_plan)
                errors.append(SiteError(name, error))
            elif hidden.reads(name):
                hidden.refit_(name, walk, positions)
            elif is_matched(converted.get_submodule(name)):
                match_norm_(converted.get_submodule(name), hidden.seen(name, walk.inputs_of(name)))
            bar.advance()
    for done in waiting.values():  # no forward pass reaches them
        put_(converted, done)
    record = ProjectionRecord(calibration.samples, seed, round(time.perf_counter() - begin, 3), tuple(errors))
    return replace(plan, sites=tuple(sites.values())), record


def _stops(original: nn.Module, sites: Collection[str], calls: Mapping[str, int]) -> list[str]:
    """The modules where a walk stops, in the order in which they run: ``sites``, and norms after the first of them."""
    names = [name for name in calls if name in sites or is_matched(original.get_submodule(name))]
    first = next((place for place, name in enumerate(names) if name in sites), len(names))
    return names[first:]


def _project_site_(done: Replacement, moments: Moments, seed: int) -> tuple[BlockPlan, float]:
    """Fit the block of one site in place; returns its plan and the relative error.

    The error of a block that holds norms and activations is that of K before its norm.
    """
    inputs, _ = channels_of(done.layer)
    weight = affine_of(done.layer, inputs, channel_dim(done.layer)).weight
    if not (done.plan.absorbs_norm or done.plan.absorbs_activation):
        fitted = fit(done.plan.layer, weight, moments, seed)
        write_(done.block, fitted, moments)
        return fitted.plan, moments.error(matrix_of(done.block).weight)
    fitted = fit_absorbed(done.plan.layer, weight, moments, seed)
    for stage in done.block.stages:
        for source, copied in ((done.norm, stage.norm), (done.activation, stage.activation)):
            if source is not None and copied is not None:
                copied.load_state_dict(source.state_dict())
    write_absorbed_(done.block, fitted, moments)
    return fitted.plan, moments.error(fitted.matrix)
