"""The road from a model to its conversion, one step a line. Read this and you have read kswap."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map

from kswap.counting import count_plan
from kswap.errors import ModelError, PlanError
from kswap.graph.clone import is_on_meta
from kswap.graph.match import find_sites, is_pointwise
from kswap.graph.observe import Observation, observe, output_shapes
from kswap.graph.splice import splice_
from kswap.graph.tracer import Trace, graph_module, trace
from kswap.nn.init import init_block_
from kswap.planner.plan import Counts, Plan, SitePlan
from kswap.planner.schemes import check_ch, check_scheme, plan_layer
from kswap.report.report import Report, report_of
from kswap.rules import RuleSet, decide, load_rules, unused
from kswap.sites import Site
from kswap.sources import Source, input_size_of, parse_source, source_of_module, structure_hash

Inputs = tuple[Any, ...]
RuleSpec = str | Path | RuleSet | dict[str, Any] | None


@dataclass(frozen=True)
class Conversion:
    """A converted model with its plan and report.

    ``model`` is of the same class as the original and has its methods. ``source`` says where the original
    came from, ``base_hash`` is the hash of the structure of its state.
    """

    model: nn.Module
    plan: Plan
    report: Report
    source: Source
    base_hash: str
    inputs: int = field(default=1, repr=False)

    @cached_property
    def graph_module(self) -> fx.GraphModule:
        """The spliced graph over the same parameters, with K, interleave, L and sum as nodes.

        Raises :class:`kswap.graph.tracer.TraceError` where torch.fx cannot trace the model.
        """
        return graph_module(self.model, self.inputs)

    def save(self, directory: str | Path, force: bool = False) -> Path:
        """Write weights, plan and reports into ``directory``; see :func:`kswap.saving.save`."""
        from kswap.saving import save

        return save(self, directory, force=force)


def plan(
    model: nn.Module | str,
    ch: int = 16,
    scheme: str = "v2",
    rules: RuleSpec = None,
    example_input: Tensor | Inputs | None = None,
    input_size: tuple[int, ...] | None = None,
    **model_kwargs: Any,
) -> Plan:
    """What :func:`convert` would do to ``model``. Changes nothing, and allocates no weights for a name.

    ``model`` is a module or a name; ``model_kwargs`` go to the builder of a named model. ``ch`` (channels
    per group) and ``scheme`` are the defaults that ``rules`` may change: a preset's name, a TOML file, or a
    dict. ``example_input`` is what the model is called with (its first sample is used); without it, zeros of
    ``input_size``, which is (height, width) or (channels, height, width), or of the model's own input size.
    Raises :class:`kswap.errors.KswapError` subclasses.

    >>> import kswap
    >>> plan = kswap.plan("efficientnet_b0", ch=16, num_classes=10)
    >>> len(plan.replaced), plan["conv_head"].short()
    (55, 'K 20x64')
    """
    source, built = _built(model, model_kwargs, meta=True)
    inputs = _inputs(built, source, example_input, input_size)
    return _plan(built, source, ch, scheme, rules, inputs).plan


def convert(
    model: nn.Module | str,
    ch: int = 16,
    scheme: str = "v2",
    rules: RuleSpec = None,
    plan: Plan | None = None,
    example_input: Tensor | Inputs | None = None,
    device: str | torch.device | None = None,
    seed: int | None = None,
    pretrained: bool = False,
    input_size: tuple[int, ...] | None = None,
    **model_kwargs: Any,
) -> Conversion:
    """Replace the pointwise convolutions of ``model`` and leave the argument itself untouched.

    Arguments as for :func:`plan`; a ``plan`` is replayed as it stands. ``device`` is ``"auto"``, ``"cuda"``,
    ``"cpu"``, ...; without it a named model goes to the GPU if there is one, and a module stays where it is.
    ``seed`` makes all fresh weights reproducible, on every device alike. ``pretrained`` (names only) loads
    the published weights; all that the surgery does not touch keep them. The converted model is run once to
    check its output shapes. Raises :class:`kswap.errors.KswapError` subclasses.

    >>> import kswap
    >>> conversion = kswap.convert("efficientnet_b0", ch=16, num_classes=10, device="cpu", seed=0)
    >>> conversion.report.params.before, conversion.report.params.after
    (4020358, 623226)
    """
    named = isinstance(model, str)
    check_model(model)
    target = choose_device(device if device is not None else ("auto" if named else None), model)
    with _seeded(seed):
        source, built = _built(model, model_kwargs, pretrained=pretrained)
        inputs = _inputs(built, source, example_input, input_size or (plan.input_size if plan else None))
        planning = _plan(built, source, ch, scheme, rules, inputs, plan)
        converted = built if named else copy.deepcopy(built)
        base_hash = structure_hash(converted)
        for block in splice_(converted, planning.plan).values():
            init_block_(block)
    converted.to(target)
    _check_outputs(converted, inputs, planning.observation, target)
    _check_counts(converted, planning.plan)
    report = report_of(planning.plan, drop_in=type(converted) is type(built), notes=_notes(planning.trace))
    return Conversion(converted, planning.plan, report, source, base_hash, inputs=len(inputs))


def create_model(
    name: str,
    ch: int = 16,
    scheme: str = "v2",
    rules: RuleSpec = None,
    device: str | torch.device | None = "cpu",
    seed: int | None = None,
    pretrained: bool = False,
    **timm_kwargs: Any,
) -> nn.Module:
    """A converted model by name, as ``timm.create_model`` gives the original: on the CPU, in training mode.

    >>> import kswap
    >>> model = kswap.create_model("mobilenetv3_small_050", ch=16, num_classes=10)
    >>> type(model).__name__
    'MobileNetV3'
    """
    return convert(name, ch, scheme, rules, device=device, seed=seed, pretrained=pretrained, **timm_kwargs).model


def choose_device(device: str | torch.device | None, model: nn.Module | str | None = None) -> torch.device:
    """The device for ``"auto"``, a name, or (``None``) that of the module. Raises :class:`ModelError`."""
    if device is None:
        tensor = None if isinstance(model, str) or model is None else next(iter(model.parameters()), None)
        return tensor.device if tensor is not None else torch.device("cpu")
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ModelError(f"unknown device '{device}': use auto, cpu or cuda") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ModelError("there is no CUDA device here: use --device cpu, or auto to take a GPU where there is one")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ModelError(f"there is no device {chosen}: this machine has {torch.cuda.device_count()} CUDA devices")
    return chosen


@contextlib.contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Draw from ``seed`` inside, and leave the global generator as it was; nothing to do without a seed."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _built(
    model: nn.Module | str, kwargs: dict[str, Any], meta: bool = False, pretrained: bool = False
) -> tuple[Source, nn.Module]:
    if isinstance(model, str):
        if Path(model).is_dir():
            from kswap.saving import original_of

            return original_of(model, meta=meta)
        source = parse_source(model, kwargs)
        return source, source.build(pretrained=pretrained, meta=meta)
    check_model(model)
    if kwargs or pretrained:
        names = ", ".join([*kwargs, *(["pretrained"] if pretrained else [])])
        raise ModelError(f"{names} can only be given with a model's name, not with a module")
    return source_of_module(model), model


def check_model(model: object) -> None:
    """Refuse what is neither a name nor a plain module, and say what to pass instead (:class:`ModelError`)."""
    kind = type(model).__name__
    if isinstance(model, str):
        return
    if not isinstance(model, nn.Module):
        raise ModelError(f"model must be a torch.nn.Module or a name, not a {kind}")
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise ModelError(f"this is a {kind} around a model: pass its .module, and wrap the converted model again")
    if hasattr(model, "_orig_mod"):
        raise ModelError("this model is compiled: pass its ._orig_mod, and compile the converted model again")
    if isinstance(model, torch.jit.ScriptModule):
        raise ModelError(f"this is a TorchScript {kind}: pass the nn.Module that it was made from")


def _inputs(model: nn.Module, source: Source, example: Tensor | Inputs | None, size: tuple[int, ...] | None) -> Inputs:
    """Positional inputs of one sample each, since counts are for batch 1."""
    if example is not None:
        given = example if isinstance(example, tuple) else (example,)
        return tree_map(lambda x: x[:1] if isinstance(x, Tensor) and x.ndim > 2 else x, given)  # type: ignore[no-any-return]
    own = input_size_of(model, source)
    if size is None:
        return (torch.zeros(1, *own),)
    return (torch.zeros(1, *(size if len(size) == 3 else (own[0], *size))),)


@dataclass(frozen=True)
class _Planning:
    """A plan, with the run and the graph that it was made from."""

    plan: Plan
    observation: Observation
    trace: Trace


def _plan(
    model: nn.Module,
    source: Source,
    ch: int,
    scheme: str,
    rules: RuleSpec,
    inputs: Inputs,
    replay: Plan | None = None,
) -> _Planning:
    check_ch(ch)
    check_scheme(scheme)
    rule_set = load_rules(rules, scheme=scheme)
    if not any(is_pointwise(module) for module in model.modules()):
        raise PlanError(f"{source.title} has no pointwise (1x1, groups=1) convolutions: there is nothing to replace")
    observation = _observe(model, source, inputs)
    traced = trace(model, len(inputs))
    if replay is not None:
        return _Planning(replay, observation, traced)
    parameters = list(model.parameters())
    made = make_plan(
        find_sites(model, traced.graph, observation),
        model=source.title,
        ch=ch,
        scheme=scheme,
        rules=rule_set,
        input_size=tuple(inputs[0].shape[1:]) if isinstance(inputs[0], Tensor) else (),
        before=Counts(
            params=sum(p.numel() for p in parameters),
            trainable_params=sum(p.numel() for p in parameters if p.requires_grad),
            macs=observation.total.macs,
            operations=observation.total.operations + _softmax_operations(observation.outputs),
        ),
    )
    return _Planning(made, observation, traced)


def _softmax_operations(outputs: Any) -> int:
    """The papers' networks end in a softmax, which their count includes: five operations a class."""
    is_logits = isinstance(outputs, tuple) and len(outputs) == 2 and all(isinstance(n, int) for n in outputs)
    return 5 * outputs[0] * outputs[1] if is_logits else 0


def _observe(model: nn.Module, source: Source, inputs: Inputs) -> Observation:
    try:
        return observe(model, inputs)
    except Exception as error:
        lines = str(error).strip().splitlines()
        shapes = ", ".join(str(tuple(x.shape)) for x in inputs if isinstance(x, Tensor))
        raise ModelError(
            f"{source.title} does not run on an input of shape {shapes} "
            f"({lines[0] if lines else type(error).__name__}): pass an example_input or --input-size that fits"
        ) from error


def make_plan(
    sites: tuple[Site, ...],
    model: str,
    ch: int,
    scheme: str,
    rules: RuleSet,
    input_size: tuple[int, ...],
    before: Counts,
) -> Plan:
    """Decide for every site by the rules, plan its layer, and say what the rules did not reach.

    Raises :class:`PlanError` when no site would be replaced, with the reason.
    """
    planned = tuple(_plan_site(site, rules, ch, scheme) for site in sites)
    made = Plan(
        model=model,
        scheme=rules.defaults.scheme or scheme,
        ch=rules.defaults.ch or ch,
        rules=rules.name,
        input_size=input_size,
        sites=planned,
        before=before,
        notes=unused(rules, sites),
    )
    if not made.replaced:
        raise PlanError(_nothing(made))
    return made


def _plan_site(site: Site, rules: RuleSet, ch: int, scheme: str) -> SitePlan:
    decision = decide(rules, site, ch, scheme)
    layer = plan_layer(site.in_channels, site.out_channels, decision.ch, decision.scheme, decision.second_layer)
    reason, action = layer.reason, "replace"
    if site.keep is not None:
        reason, action = site.keep, "keep"
    elif decision.keep:
        reason, action = decision.why or "kept by a rule", "keep"
    elif layer.k is None:
        action = "keep"
    elif decision.why:
        reason = f"{reason}; {decision.why}"
    if action == "replace" and site.broken and decision.placement == "absorbed":
        reason = f"{reason}; {site.broken}"
    if action == "replace" and decision.activation and (decision.placement == "linear" or site.activation is None):
        reason = f"{reason}; no activation of its own for {decision.activation} to take the place of"
    return SitePlan(site, layer, action, reason, decision.placement, decision.activation)


def _nothing(made: Plan) -> str:
    """Why a plan replaces nothing: all excluded by rules, or nothing eligible."""
    count = len(made.sites)
    by_rule = [s for s in made.sites if s.site.keep is None and s.layer.k is not None]
    if by_rule:
        return f"the rules ({made.rules}) keep all {len(by_rule)} eligible of the {count} pointwise convolutions"
    free = [s for s in made.sites if s.site.keep is None]
    if not free:
        return f"none of the {count} pointwise convolutions can be replaced; the first: {made.sites[0].reason}"
    widest = max(free, key=lambda s: s.site.in_channels)
    return (
        f"none of the {count} pointwise convolutions is eligible at ch={made.ch}; the widest, {widest.name}, "
        f"has {widest.reason}: use a smaller ch"
    )


def _check_outputs(model: nn.Module, inputs: Inputs, observation: Observation, device: torch.device) -> None:
    """Run the converted model once in eval mode; its outputs must have the original's shapes."""
    if is_on_meta(model):
        return
    mode = model.training
    moved = tree_map(lambda x: x.to(device) if isinstance(x, Tensor) else x, inputs)
    with torch.no_grad():
        found = output_shapes(model.eval()(*moved))
    model.train(mode)
    if found != observation.outputs:
        raise PlanError(f"the converted model gives {found}, the original gave {observation.outputs}: not saved")


def _check_counts(model: nn.Module, planned: Plan) -> None:
    """The model that was built must have the parameters that the plan promised, to the last one."""
    built = sum(p.numel() for p in model.parameters())
    promised = count_plan(planned).params
    if built != promised:
        raise PlanError(f"the plan does not fit this model: it promises {promised:,} parameters, built were {built:,}")


def _notes(traced: Trace) -> tuple[str, ...]:
    notes = []
    if traced.error:
        notes.append(f"torch.fx cannot trace this model ({traced.error}): matched in a recorded run instead")
    if traced.specialised:
        notes.append("the forward pass branches on training mode: graph_module holds the branch of eval mode")
    return tuple(notes)
