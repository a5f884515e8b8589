"""The road from a model to its conversion, one step a line. Read this and you have read kswap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from kswap.budgeting import check_budget, library_for
from kswap.converted import Conversion
from kswap.graph.call import Example
from kswap.graph.clone import full_clone
from kswap.graph.edits import apply_edits_
from kswap.graph.initialisers import Initialiser, initialiser_of
from kswap.graph.optimizer import check_optimizer, follow_
from kswap.graph.random_state import drawn_seed, preserved_random_state
from kswap.graph.state_bytes import state_bytes
from kswap.loading import original_model
from kswap.narrowing import NarrowSpec, narrowed_, narrowings_of
from kswap.planner.budget import Budget
from kswap.planner.plan import Plan
from kswap.planner.sites import LAYER_KINDS
from kswap.planning import PlanSettings, RuleSpec, edits_of, plan_of, run_of
from kswap.projection.calibration import IMAGES, CalibrationData, calibration_of, check_calibration
from kswap.projection.project import project_
from kswap.recording import provenance_of, rules_origin, weights_text
from kswap.report.calls import recorded
from kswap.report.provenance import RulesOrigin, WeightsStep
from kswap.report.report import report_of
from kswap.sources.check import check_model, check_trained
from kswap.sources.device import choose_device
from kswap.sources.inputs import call_for
from kswap.sources.recognise import structure_hash
from kswap.sources.trained import are_of_converted, check_fresh, load_checkpoint_
from kswap.surgery import check_counts, operate_, sizes_of
from kswap.traced import TracedModel


@torch.inference_mode(False)
def plan(
    model: nn.Module | str,
    ch: int = 16,
    scheme: str = "v2",
    rules: RuleSpec = None,
    example_input: Example | None = None,
    input_size: tuple[int, ...] | None = None,
    skip_strides: int = 0,
    linear: bool = False,
    kind: str = "grouped",
    rank: int | None = None,
    init: str | Initialiser = "fresh",
    placement: str | None = None,
    narrow: NarrowSpec = None,
    ch_fraction: float | None = None,
    align: int | None = None,
    **model_kwargs: Any,
) -> Plan:
    """What :func:`convert` would do to ``model``. Changes nothing, and allocates no weights for a name.

    Args:
        model: a module, or a name: of timm, ``torchvision/NAME``, ``package.module:factory``, ``file.py:factory``, or
            a directory that kswap saved.
        ch: channels per group (Ch in the papers); rules may change it for single sites.
        scheme: ``"v2"`` (Entropy 2022) or ``"v1"`` (2021, MENDEL 2022); rules may change it.
        rules: a preset's name, a TOML file, or a dict; see :mod:`kswap.rules`.
        example_input: what the model is called with, unchanged: a tensor, a tuple of positional arguments or a dict of
            keyword arguments, nested or not. Counts are per sample where the first dimension of all outputs is the
            batch, and otherwise for the whole call, which a note says. Without it, zeros of ``input_size``.
        input_size: (height, width) or (channels, height, width); without it, the model's own input size.
        skip_strides: turn the first N strided stages of the network to stride 1, as the papers do for 32x32 images.
        linear: replace Linear layers too (``match = ["conv", "linear"]`` in a rule file).
        kind: the kind of block, ``"grouped"``, ``"low-rank"`` or ``"assigned"``; rules may change it.
        rank: channels in the middle of low-rank blocks; without it, about the weights of the grouped block.
        init: where :func:`convert` will take the weights of the blocks from; decides the placement.
        placement: ``"absorbed"`` (K and L each take in a copy of the norm and activation that follow, as in the
            papers) or ``"linear"`` (norm and activation stay after the block); rules may change it. Without it, linear
            for ``init="project"``, where a block stands for one linear map, and absorbed for all else.
        narrow: take hidden channels out first, between an expansion and its projection: the share that stays
            (``0.5``, in multiples of 8), or how many stay by the name of the expansion
            (``{"blocks.1.0.conv_pw": 48}``). Norms, depthwise convolutions and gates follow.
        ch_fraction: instead of ``ch``, the share of the input channels of each site that its Ch is, rounded to a whole
            number of at least 1; rules may set a Ch for single sites.
        align: inputs and filters of every group are multiples of this number where channel numbers allow it, and the
            reasons of the other sites say why not; 16 suits ONNX Runtime on CPUs with AVX-512, 8 those with AVX2.
            Such blocks have more weights. Rules may change it.
        model_kwargs: arguments of the builder of a named model.

    Raises :class:`kswap.errors.KswapError` subclasses.

    >>> import kswap
    >>> plan = kswap.plan("efficientnet_b0", ch=16, num_classes=10)
    >>> len(plan.replaced), plan["conv_head"].short()
    (55, 'K 20x64')
    """
    placement = placement or initialiser_of(init).placement
    settings = PlanSettings.of(ch, scheme, rules, linear, kind, rank, placement, ch_fraction, align)
    with preserved_random_state():
        traced = TracedModel.of(model, model_kwargs, settings, skip_strides, narrow, example_input, input_size)
        return traced.plan(settings)


@recorded("kswap.convert")
@torch.inference_mode(False)
def convert(
    model: nn.Module | str,
    ch: int = 16,
    scheme: str = "v2",
    rules: RuleSpec = None,
    plan: Plan | None = None,
    example_input: Example | None = None,
    device: str | torch.device | None = None,
    seed: int | None = None,
    pretrained: bool = False,
    input_size: tuple[int, ...] | None = None,
    skip_strides: int = 0,
    linear: bool = False,
    optimizer: torch.optim.Optimizer | None = None,
    kind: str = "grouped",
    rank: int | None = None,
    init: str | Initialiser | None = None,
    weights: str | Path | None = None,
    calibration: CalibrationData | None = None,
    images: int = IMAGES,
    placement: str | None = None,
    progress: bool = True,
    narrow: NarrowSpec = None,
    budget: str | Budget | None = None,
    ch_fraction: float | None = None,
    align: int | None = None,
    **model_kwargs: Any,
) -> Conversion:
    """Replace the pointwise convolutions of ``model`` and leave the argument itself unchanged.

    A copy of the converted model, over the same parameters, is run once: its outputs must have the original's shapes,
    every block must run, and nothing that was replaced may. Threads convert one after the other.

    Args:
        model: see :func:`plan`, as for all arguments that are not here.
        plan: a plan to replay unchanged, instead of making one.
        device: ``"auto"``, ``"cuda"``, ``"cpu"``, ...; without it a named model goes to the GPU if there is one, and
            a module stays where it is.
        seed: makes all fresh weights reproducible, on every device alike. Without it one number is drawn from torch's
            global generator, whose state is otherwise unchanged.
        pretrained: load the published weights of a named model; all that the surgery does not touch keep them.
        optimizer: an optimizer of ``model``; it follows the surgery in place, and then holds the parameters of the
            converted model.
        weights: a file of trained weights for a named model, instead of ``pretrained``: safetensors, or a state dict
            that ``torch.save`` wrote (wrapped by a trainer or not); of the original, or of the converted model, as a
            training script saved it. No code in it runs.
        init: where the weights of the new blocks come from: ``"fresh"`` (Glorot, as in the papers), ``"project"``
            (fitted in closed form to the trained layers that they replace, for the data of ``calibration``), or a
            :class:`kswap.graph.initialisers.Initialiser`. Without it, ``"project"`` where there is a budget, and
            ``"fresh"`` everywhere else.
        calibration: inputs of the model for ``init="project"``; labels are not needed. A path of pictures (a folder
            or zip), a tensor of samples, or batches; see :class:`kswap.projection.calibration.Calibration`.
        images: how many samples of ``calibration`` are used, where it is no tensor.
        progress: draw a progress bar while blocks are fitted.
        budget: the most that the converted model may have: ``"params=0.2"``, ``"macs=150M"``, ``"bytes=2.5M"``, or
            several of them; numbers up to 1 are shares of the original. Kind, Ch, scheme and rank of each block are
            then chosen so that the outputs of the network change least (:func:`kswap.block_library`); rules decide
            which layers stay.

    Raises :class:`kswap.errors.KswapError` subclasses.

    >>> import kswap
    >>> conversion = kswap.convert("efficientnet_b0", ch=16, num_classes=10, device="cpu", seed=0)
    >>> conversion.report.params.before, conversion.report.params.after
    (4020358, 623226)
    """
    check_model(model)
    replayed = plan
    asked = None if budget is None else Budget.of(budget)
    initialiser = initialiser_of(init or ("fresh" if asked is None else "project"))
    if asked is not None:
        given = {"plan": plan, "ch": ch != 16, "kind": kind != "grouped", "rank": rank, "ch_fraction": ch_fraction}
        check_budget(asked, given | {"placement": placement, "narrow": narrow, "align": align}, initialiser.fits)
    if optimizer is not None:
        check_optimizer(optimizer, model)
    named = isinstance(model, str)
    target = choose_device(device if device is not None else ("auto" if named else None), model)
    check_calibration(initialiser.name, initialiser.fits, calibration)
    placed = placement or initialiser.placement
    settings = PlanSettings.of(ch, scheme, rules, linear, kind, rank, placed, ch_fraction, align)
    seed = drawn_seed() if seed is None else seed
    with preserved_random_state(seed):
        source, original = original_model(model, model_kwargs, False, pretrained, weights, or_converted=True)
        of_converted = weights if weights is not None and are_of_converted(original, weights) else None
        if of_converted is not None:
            check_fresh(initialiser.fits, of_converted)
        if initialiser.fits and named and not pretrained and weights is None:
            check_trained(source)
        converted = original if named else full_clone(original)
        base_hash, bytes_before = structure_hash(converted), state_bytes(converted)
        own_call = call_for(converted, source, example_input)
        edits = plan.edits if plan else edits_of(converted, source.title, settings, skip_strides, own_call)
        apply_edits_(converted, edits)
        call = call_for(converted, source, example_input, input_size or (plan.input_size if plan else None))
        kinds = LAYER_KINDS if plan else settings.kinds
        run = run_of(converted, source.title, call, kinds)
        trained = full_clone(converted).to(target) if initialiser.fits else None
        samples = None
        if trained is not None and calibration is not None:
            samples = calibration_of(calibration, trained, call, images, seed)
        if asked is not None and trained is not None and samples is not None:
            known = (trained, source.title, settings, call, run, edits, samples)
            library = library_for(*known, seed, progress=progress, budget=asked)
            plan = library.plan_for(asked)
        narrowings = plan.narrowings if plan else narrowings_of(converted, run, narrow)
        done = narrowed_(converted, source.title, call, run, narrowings, kinds)
        observed = done.run.observation
        made = plan or plan_of(converted, source.title, settings, call, done.run, edits, narrowings, done.before)
        made, replacements = operate_(converted, made, initialiser, call, observed, replay=plan is not None)
        converted.to(target)
        record = None
        if trained is not None and samples is not None:
            calls = {name: ran.calls for name, ran in observed.records.items()}
            made, record = project_(converted, trained, made, replacements, calls, samples, seed, progress)
    if of_converted is not None:
        load_checkpoint_(converted, of_converted, f"{source.title} as it is converted here")
    check_counts(converted, made)
    if optimizer is not None:
        follow_(optimizer, original, converted)
    step = samples.step(seed) if trained is not None and samples is not None else WeightsStep(initialiser.name, seed)
    if of_converted is not None:
        step = WeightsStep("loaded", data=Path(of_converted).name)
    origin = rules_origin(settings.rules, made.rules) if replayed is None else RulesOrigin(made.rules)
    provenance = provenance_of(source, origin, base_hash, seed, weights_text(model, source, pretrained), (step,))
    notes = (*run.notes, *source.notes)
    sizes = sizes_of(converted, made, replacements, bytes_before)
    report = report_of(made, type(converted) is type(original), notes, record, provenance, sizes)
    return Conversion(converted, made, report, source, base_hash, call=call.to("meta"))


def create_model(
    name: str,
    ch: int = 16,
    scheme: str = "v2",
    rules: RuleSpec = None,
    device: str | torch.device | None = "cpu",
    seed: int | None = None,
    pretrained: bool = False,
    skip_strides: int = 0,
    linear: bool = False,
    kind: str = "grouped",
    rank: int | None = None,
    weights: str | Path | None = None,
    narrow: NarrowSpec = None,
    **timm_kwargs: Any,
) -> nn.Module:
    """A converted model by name, as ``timm.create_model`` returns the original: on the CPU, in training mode.

    >>> import kswap
    >>> model = kswap.create_model("mobilenetv3_small_050", ch=16, num_classes=10)
    >>> type(model).__name__
    'MobileNetV3'
    """
    conversion = convert(
        name,
        ch,
        scheme,
        rules,
        device=device,
        seed=seed,
        pretrained=pretrained,
        skip_strides=skip_strides,
        linear=linear,
        kind=kind,
        rank=rank,
        weights=weights,
        narrow=narrow,
        **timm_kwargs,
    )
    return conversion.model
