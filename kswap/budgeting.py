"""From a trained model to the library of blocks that a budget chooses from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kswap.budgets.block_library import Library, library_of
from kswap.budgets.narrower import narrower_of
from kswap.budgets.options import CHANNELS_PER_GROUP
from kswap.errors import PlanError, wording
from kswap.graph.call import Call, Example
from kswap.graph.clone import full_clone
from kswap.graph.edits import apply_edits_
from kswap.graph.random_state import preserved_random_state
from kswap.loading import original_model
from kswap.planner.budget import Budget
from kswap.planner.edits import Edit
from kswap.planning import PlanSettings, RuleSpec, Run, edits_of, plan_of, run_of
from kswap.projection.calibration import IMAGES, Calibration, CalibrationData, calibration_of
from kswap.sources.device import choose_device
from kswap.sources.inputs import call_for


@torch.inference_mode(False)
def block_library(
    model: nn.Module | str,
    calibration: CalibrationData,
    scheme: str = "v2",
    rules: RuleSpec = None,
    example_input: Example | None = None,
    device: str | torch.device | None = None,
    seed: int = 0,
    pretrained: bool = False,
    weights: str | Path | None = None,
    input_size: tuple[int, ...] | None = None,
    skip_strides: int = 0,
    linear: bool = False,
    images: int = IMAGES,
    scoring: str = "outputs",
    progress: bool = True,
    narrow: bool = True,
    budget: str | Budget | None = None,
    **model_kwargs: Any,
) -> Library:
    """Everything that a budget may choose from for ``model``, from which plans for any budget are made in no time.

    Args:
        model: trained; see :func:`kswap.plan`, as for all arguments that are not here.
        calibration: inputs of the model; labels are not needed. See :func:`kswap.convert`.
        seed: of the fits, and of the pictures that are drawn.
        images: how many samples of ``calibration`` are used, where it is no tensor.
        scoring: how the damage of a block is measured: ``"outputs"``, the change of the outputs of the whole network
            when only that block is put in, or the quicker ``"error"``, the error of its fit.
        progress: draw a progress bar.
        narrow: whether hidden channels may become fewer too.
        budget: refused before anything is fitted where it is out of reach; the library serves other budgets as well.

    Raises :class:`kswap.errors.KswapError` subclasses.

    >>> import kswap
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 3), torch.nn.Conv2d(64, 96, 1), torch.nn.Conv2d(96, 4, 3))
    >>> library = kswap.block_library(model, torch.randn(32, 3, 8, 8), progress=False)
    >>> plan = library.plan_for("params=0.8")
    >>> [site.name for site in plan.replaced]
    ['1']
    """
    settings = PlanSettings.of(16, scheme, rules, linear, placement="linear")
    with preserved_random_state():
        source, original = original_model(model, model_kwargs, pretrained=pretrained, weights=weights)
        original = original if isinstance(model, str) else full_clone(original)
        edits = edits_of(original, source.title, settings, skip_strides, call_for(original, source, example_input))
        apply_edits_(original, edits)
        call = call_for(original, source, example_input, input_size)
        run = run_of(original, source.title, call, settings.kinds)
        original.to(choose_device(device, original))
        samples = calibration_of(calibration, original, call, images, seed)
        asked = None if budget is None else Budget.of(budget)
        known = (original, source.title, settings, call, run, edits, samples)
        return library_for(*known, seed, scoring, progress, narrow, asked)


def library_for(
    original: nn.Module,
    title: str,
    settings: PlanSettings,
    call: Call,
    run: Run,
    edits: tuple[Edit, ...],
    samples: Calibration,
    seed: int = 0,
    scoring: str = "outputs",
    progress: bool = True,
    narrow: bool = True,
    budget: Budget | None = None,
) -> Library:
    """As :func:`block_library`, for a trained model on which ``edits`` were made, and that was run already."""
    block = replace(settings.block, kind="grouped", ch=CHANNELS_PER_GROUP[0], rank=None)
    finest = replace(settings, block=block, placement="linear")
    plan = replace(plan_of(original, title, finest, call, run, edits), ch=settings.block.ch)
    narrower = narrower_of(original, title, finest, call, run, edits) if narrow else ()
    return library_of(original, plan, finest, samples.batches, scoring, seed, progress, narrower, budget)


def check_budget(budget: Budget, given: Mapping[str, object], fits: bool, timed: bool = False) -> None:
    """Refuse what contradicts a budget: ``given`` are arguments by name, of which none may be set.

    ``fits`` says whether blocks are fitted to the trained layers, ``timed`` whether times of the blocks are measured.
    Raises :class:`PlanError`.
    """
    stated = [name for name, value in given.items() if value]
    if "plan" in stated:
        raise PlanError("a plan says already what becomes of every site: leave out the plan or the budget")
    if stated:
        raise PlanError(f"the budget chooses {', '.join(stated)} for every site by itself: leave that out")
    if not fits:
        raise PlanError("a budget chooses blocks that are fitted to trained layers: use it with the init project")
    if "latency" in budget.quantities and not timed:
        how = wording(
            "make a plan with kswap.block_library(...).with_seconds(...).plan_for(budget), and pass that",
            "make a plan with `kswap plan --budget ... --target TARGET --save FILE`, and convert with --plan FILE",
        )
        raise PlanError(f"a budget of latency needs times that are measured in a target: {how}")
