"""From a model to its plan: observe, trace, match, decide by the rules, plan each layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils._pytree import tree_leaves

from kswap.errors import KswapError, ModelError, PlanError, first_line
from kswap.graph.call import Call
from kswap.graph.clone import meta_clone
from kswap.graph.edits import activation_edits, stride_edits
from kswap.graph.match import find_sites
from kswap.graph.observe import Observation, is_shape, observe, real_clone
from kswap.graph.other_calls import observed_options, without_read_norms
from kswap.graph.splice import splice_
from kswap.graph.tracer import Trace, trace
from kswap.graph.verify import called_in_training, check_run, holds_unregistered_modules
from kswap.nn.pointwise import kind_of
from kswap.planner.edits import Edit, describe
from kswap.planner.kinds import BLOCK_KINDS, check_kind, plan_block
from kswap.planner.kinds.kind import BlockSettings
from kswap.planner.narrowing import Narrowing, describe_narrowings
from kswap.planner.plan import Counts, Plan
from kswap.planner.site_plan import PLACEMENTS, SitePlan, too_narrow
from kswap.planner.sites import CONVOLUTIONS, Site
from kswap.progress import step
from kswap.rules import RuleSet, decide, load_rules, unused
from kswap.zoo.paper_variants import paper_variant_notes

RuleSpec = str | Path | RuleSet | dict[str, Any] | None


def kinds_asked(kind: str, rules: RuleSet) -> frozenset[str]:
    """The kinds of blocks that a plan for ``kind`` may have: rules may set others."""
    stated = (rules.defaults.kind, *(rule.settings.kind for rule in rules.rules))
    return frozenset({kind, *(own for own in stated if own is not None)})


def can_align(kind: str, rules: RuleSet) -> bool:
    """Whether any of these kinds has groups, which can be aligned."""
    return any("align" in BLOCK_KINDS[own].keys for own in kinds_asked(kind, rules))


@dataclass(frozen=True)
class PlanSettings:
    """What the caller asks for: defaults that the rules may change for single sites."""

    block: BlockSettings
    rules: RuleSet
    placement: str = "absorbed"
    ch_fraction: float | None = None

    def __post_init__(self) -> None:
        if self.ch_fraction is not None and not 0 < self.ch_fraction < 1:
            raise PlanError(f"ch_fraction must be a number between 0 and 1, not {self.ch_fraction!r:.40}")
        if self.placement not in PLACEMENTS:
            raise PlanError(f"placement must be one of {', '.join(PLACEMENTS)}, not {self.placement!r:.40}")

    @classmethod
    def of(
        cls,
        ch: int,
        scheme: str,
        rules: RuleSpec,
        linear: bool = False,
        kind: str = "grouped",
        rank: int | None = None,
        placement: str = "absorbed",
        ch_fraction: float | None = None,
        align: int | None = None,
    ) -> PlanSettings:
        """Checked settings; ``linear`` makes Linear layers sites as well, as ``match`` in the rules does.

        Raises :class:`PlanError` and :class:`kswap.errors.RuleError`.
        """
        check_kind(kind)
        block = BlockSettings(kind=kind, ch=ch, scheme=scheme, rank=rank, align=align)
        loaded = load_rules(rules, scheme=scheme)
        kinds = kinds_asked(kind, loaded)
        if rank is not None and "low-rank" not in kinds:
            raise PlanError("rank is for the kind low-rank: ask for that kind as well, or leave the rank out")
        if align is not None and not can_align(kind, loaded):
            raise PlanError(f"align is for blocks of groups, and a {kind} block has none: leave align or the kind out")
        if linear and "linear" not in loaded.kinds:
            loaded = replace(loaded, kinds=(*loaded.kinds, "linear"), text="")
        return cls(block, loaded, placement, ch_fraction)

    def block_of(self, site: Site) -> BlockSettings:
        """What is asked for at ``site``: with ``ch_fraction``, that share of its input channels as Ch."""
        if self.ch_fraction is None:
            return self.block
        return replace(self.block, ch=max(1, round(self.ch_fraction * site.in_channels)))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of layers that are sites, of :data:`kswap.planner.sites.LAYER_KINDS`."""
        return self.rules.kinds


@dataclass(frozen=True)
class Run:
    """One observed run of the original, and its graph."""

    observation: Observation
    trace: Trace
    fuses: str | None = None
    options: Mapping[str, Observation] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the report should know about how the sites were found."""
        notes = []
        if self.trace.error:
            notes.append(f"torch.fx cannot trace this model ({self.trace.error}): matched in a recorded run instead")
        if self.trace.specialised:
            notes.append("the forward pass branches on training mode: graph_module holds the branch of eval mode")
        if self.fuses:
            notes.append(f"this model has {self.fuses}(): call it before convert, it does not know the blocks")
        return tuple(notes)


def run_of(model: nn.Module, title: str, call: Call, kinds: Collection[str] = CONVOLUTIONS) -> Run:
    """Run a clone of ``model``, which has layers of these ``kinds``, without weights, and trace it.

    Raises :class:`PlanError` where there is nothing to look for, :class:`ModelError` where it does not run.
    """
    found = Counter(kind_of(module) for module in model.modules())
    if not any(found[kind] for kind in kinds):
        linear = found["linear"] if "linear" not in kinds else 0
        layers = "1 Linear layer" if linear == 1 else f"{linear} Linear layers"
        hint = f", but for {layers} with --linear (linear=True)" if linear else ""
        raise PlanError(f"{title} has no pointwise (1x1, groups=1) convolutions: there is nothing to replace{hint}")
    step("running the original once")
    observation = _observe(model, title, call)
    step("tracing it")
    options = {} if observation.real else observed_options(model, call)
    return Run(observation, trace(model, call), _fuses(model), options)


# Methods that take convolutions and norms apart, of timm, Ultralytics and RepVGG.
_FUSING = ("fuse", "reparameterize", "switch_to_deploy")


def _fuses(model: nn.Module) -> str | None:
    """The method of ``model``, or of a part of it, that fuses norms into convolutions."""
    own = (method for module in model.modules() for method in _FUSING if callable(getattr(module, method, None)))
    return next(own, None)


def edits_of(model: nn.Module, title: str, settings: PlanSettings, skip_strides: int, call: Call) -> tuple[Edit, ...]:
    """What is changed in the original first: strides (stages are seen on ``inputs``), and activations by rule."""
    swap = settings.rules.swap_activations
    activations = activation_edits(model, swap)
    if swap and not activations:
        raise PlanError(f"{title} has no activation of the class {', '.join(swap)} that swap_activations names")
    if skip_strides == 0:
        return activations
    return (*stride_edits(model, _observe(model, title, call), skip_strides), *activations)


def _counts(model: nn.Module, observation: Observation, samples: int) -> Counts:
    """Totals of ``model`` for one of the ``samples`` that were observed."""
    parameters = list(model.parameters())
    return Counts(
        params=sum(p.numel() for p in parameters),
        trainable_params=sum(p.numel() for p in parameters if p.requires_grad),
        macs=observation.total.macs // samples,
        operations=(observation.total.operations + _softmax_operations(observation.outputs)) // samples,
    )


def counts_of(model: nn.Module, observation: Observation, call: Call) -> Counts:
    """Totals of ``model`` for one sample of ``call``."""
    return _counts(model, observation, _samples((), observation, call))


def plan_of(
    model: nn.Module,
    title: str,
    settings: PlanSettings,
    call: Call,
    run: Run,
    edits: tuple[Edit, ...],
    narrowings: tuple[Narrowing, ...] = (),
    before: Counts | None = None,
) -> Plan:
    """The plan of ``model``, on which ``edits`` and ``narrowings`` are made already; ``before`` these are its counts.

    Raises :class:`PlanError` when nothing would become smaller, with the reason.
    """
    step("planning each layer")
    rules = settings.rules
    sites = find_sites(model, run.trace.graph, run.observation, settings.kinds)
    found = without_read_norms(model, sites, run.observation, run.options)
    samples = _samples(found, run.observation, call)
    sites = tuple(site.per_sample(samples) for site in found)
    counts = _counts(model, run.observation, samples)
    planned = tuple(_plan_site(site, settings) for site in sites)
    made = Plan(
        model=title,
        scheme=rules.defaults.scheme or settings.block.scheme,
        ch=rules.defaults.ch or settings.block.ch,
        kind=rules.defaults.kind or settings.block.kind,
        rules=rules.name,
        input_size=call.sample_shape,
        sites=planned,
        before=before or counts,
        notes=(
            *describe(edits),
            *describe_narrowings(narrowings),
            *_fraction(settings),
            *_aligned(planned),
            *unused(rules, sites),
            *paper_variant_notes(title),
            *_counted_for(samples, call),
        ),
        edits=edits,
        narrowings=narrowings,
        narrowed=counts if narrowings else None,
    )
    return _without_bypassed(model, check_replaces(made), call, run)


def _samples(sites: Sequence[Site], observation: Observation, call: Call) -> int:
    """How many samples ``call`` holds, where counts per sample make sense; otherwise 1.

    They do where every output has as many first elements as the first tensor of the call, and every count is a
    multiple of that number.
    """
    first = call.tensors[0]
    samples = first.shape[0] if first.ndim > 1 else 1
    shapes = [leaf for leaf in tree_leaves(observation.outputs, is_leaf=is_shape) if is_shape(leaf)]
    batched = all(len(shape) > 0 and shape[0] == samples for shape in shapes)
    counts = (observation.total.macs, observation.total.operations, *(site.positions for site in sites))
    followers = (part.operations for site in sites for part in (site.norm, site.activation) if part is not None)
    even = samples > 0 and all(count % samples == 0 for count in (*counts, *followers))
    return samples if batched and even else 1


def _counted_for(samples: int, call: Call) -> tuple[str, ...]:
    """What a reader should know of the counts, where they are not for one sample of a plain batch."""
    if samples > 1 or all(tensor.ndim < 2 or tensor.shape[0] == 1 for tensor in call.tensors):
        return ()
    shapes = ", ".join("x".join(map(str, tensor.shape)) or "scalar" for tensor in call.tensors)
    return (f"MACs and computations are for one call with inputs of shape {shapes}",)


def _fraction(settings: PlanSettings) -> tuple[str, ...]:
    share = settings.ch_fraction
    return () if share is None else (f"Ch is {share:g} of the input channels of each site, where no rule sets it",)


def _aligned(sites: Iterable[SitePlan]) -> tuple[str, ...]:
    """How many of the replaced sites have the groups that were asked for, by the number that they are aligned to."""
    asked: dict[int, list[bool]] = {}
    for site in sites:
        if site.replaced and site.layer.align is not None:
            asked.setdefault(site.layer.align, []).append(site.layer.is_aligned)
    return tuple(
        f"groups aligned to {align} in {sum(fit)} of {len(fit)} replaced layers; the reasons of the others say why not"
        for align, fit in sorted(asked.items())
    )


def check_replaces(made: Plan) -> Plan:
    """``made``, if it makes anything smaller; otherwise :class:`PlanError` says why it does not."""
    if not made.replaced and not made.narrowings:
        raise PlanError(_nothing(made))
    return made


def without(made: Plan, wrong: Mapping[str, str]) -> Plan:
    """``made`` with the sites of ``wrong`` kept, for their reasons. Raises :class:`PlanError` when none is left."""
    fewer = made.keep(wrong)
    if not fewer.replaced and not fewer.narrowings:
        name, reason = next(iter(wrong.items()))
        count = len(made.sites)
        raise PlanError(f"none of the {count} pointwise convolutions can be replaced; the first: {name}, {reason}")
    return fewer


def _without_bypassed(model: nn.Module, made: Plan, call: Call, run: Run) -> Plan:
    """``made`` without the sites whose layer the model also calls past its registered modules.

    Found by a trial on a clone, which only a model that holds such references needs.
    """
    if not holds_unregistered_modules(model):
        return made
    clone = real_clone(model) if run.observation.real else meta_clone(model)
    device = "cpu" if run.observation.real else "meta"
    if clone is None:
        return made
    moved = call.to(device)
    replacements = splice_(clone, made)
    _, wrong = check_run(clone, replacements, moved)
    wrong = wrong or called_in_training(clone, replacements, moved)
    return _without_bypassed(model, without(made, wrong), call, run) if wrong else made


def _observe(model: nn.Module, title: str, call: Call) -> Observation:
    try:
        return observe(model, call)
    except KswapError:
        raise
    except Exception as error:
        shapes = ", ".join(str(tuple(x.shape)) for x in call.tensors)
        raise ModelError(
            f"{title} does not run on an input of shape {shapes} "
            f"({first_line(error)}): pass an example_input or --input-size that fits"
        ) from error


def _softmax_operations(outputs: Any) -> int:
    """The papers' networks end in a softmax, which their count includes: five operations a class."""
    is_logits = isinstance(outputs, tuple) and len(outputs) == 2 and all(isinstance(n, int) for n in outputs)
    return 5 * outputs[0] * outputs[1] if is_logits else 0


def _plan_site(site: Site, settings: PlanSettings) -> SitePlan:
    decision = decide(settings.rules, site, settings.block_of(site), settings.placement)
    layer = plan_block(site.in_channels, site.out_channels, decision.block)
    placement = decision.placement if layer.absorbs else "linear"
    reason, action = layer.reason, "replace"
    if site.keep_reason is not None:
        reason, action = site.keep_reason, "keep"
    elif decision.keep:
        reason, action = decision.why or "kept by a rule", "keep"
    elif not layer.replaces:
        action = "keep"
    elif narrow := too_narrow(site, layer):
        reason, action = narrow, "keep"
    elif decision.why:
        reason = f"{reason}; {decision.why}"
    if action == "replace" and site.chain_break and placement == "absorbed":
        reason = f"{reason}; {site.chain_break}"
    if action == "replace" and decision.activation and (placement == "linear" or site.activation is None):
        reason = f"{reason}; no activation of its own for {decision.activation} to take the place of"
    return SitePlan(site, layer, action, reason, placement, decision.activation)


def _nothing(made: Plan) -> str:
    """Why a plan replaces nothing: all excluded by rules, or nothing eligible."""
    count = len(made.sites)
    by_rule = [s for s in made.sites if s.site.keep_reason is None and s.layer.replaces]
    if by_rule:
        said = f"the rules ({made.rules}) keep all {len(by_rule)} eligible of the {count} pointwise convolutions"
        asked = [s for s in by_rule if s.reason == s.site.opt_in_reason]
        return f"{said}; the first: {asked[0].name}, {asked[0].reason}" if asked else said
    free = [s for s in made.sites if s.site.keep_reason is None]
    if not free:
        return f"none of the {count} pointwise convolutions can be replaced; the first: {made.sites[0].reason}"
    widest = max(free, key=lambda s: s.site.in_channels)
    kept = max((s for s in made.sites if s not in free), key=lambda s: s.site.in_channels, default=widest)
    beside = f"; the wider {kept.name} stays: {kept.reason}" if kept.site.in_channels > widest.site.in_channels else ""
    return (
        f"none of the {count} pointwise convolutions is eligible at ch={made.ch}; the widest, {widest.name}, "
        f"has {widest.reason}: use a smaller ch{beside}"
    )
