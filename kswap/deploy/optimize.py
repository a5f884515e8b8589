"""A converted model for inference: norms folded, each block in the plain layers that run it quickest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from kswap.deploy.targets import check_target
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from kswap.deploy import tuning
from kswap.deploy.folded import fold, norm_count
from kswap.deploy.folding import fold_norms_, standardise_once_
from kswap.deploy.forms import forms_of
from kswap.deploy.optimization import LayerForm, Optimization
from kswap.deploy.tuning import Choice
from kswap.errors import DeployError
from kswap.graph.clone import full_clone, is_on_meta
from kswap.graph.observe import observe
from kswap.nn import PointwiseBlock
from kswap.original import Inputs, check_model, inputs_for
from kswap.sources import source_of_module

# Folding rounds each weight once more. Beyond so many times the precision of the dtype (1e-3 in float32), relative to
# the largest output, something else has happened.
_MOST_ROUNDINGS = 8192
_MOST_ERROR = 0.2

# Called with the name of each block as it is done, and how many there are.
Watcher = Callable[[str, int], None]


def optimize_for_inference(
    model: nn.Module,
    example_input: Tensor | Inputs | None = None,
    target: str = "eager",
    autotune: bool = True,
    threads: int | None = None,
    forms: Mapping[str, str] | None = None,
    watch: Watcher | None = None,
) -> nn.Module:
    """A copy of ``model`` in eval mode that gives the same outputs sooner; of the same class, of plain layers.

    Batch norms are folded, a block without an activation between K and L is collapsed into one matrix or into
    one grouped and one dense layer, replication, second path, interleave and sum disappear into weights. Each
    block takes the form that is quickest on its own input in ``target`` (``"eager"``, ``"inductor"``,
    ``"onnxruntime"``, ``"openvino"``, ``"cuda"``), measured with ``threads`` unless ``autotune`` is false: then
    it is estimated. Where no activation stands between K and L, one dense layer is among the forms, so that no such
    block runs slower than the layer that it replaced. ``forms`` are those of an earlier run, by name of the block.

    ``example_input`` is what the model will be called with, at the batch that counts; without it, one random
    sample of its own input size. The attribute ``optimization`` of the result says what was done: parameters
    may grow again. A model without blocks has its norms folded. The outputs are compared on the example.
    Raises :class:`kswap.errors.DeployError` for a target that cannot be used here, and where outputs differ.

    >>> import kswap, torch
    >>> model = kswap.create_model("mobilenetv3_small_050", ch=16, num_classes=10).eval()
    >>> quick = kswap.optimize_for_inference(model, torch.randn(1, 3, 64, 64), autotune=False)
    >>> type(quick).__name__, quick.optimization.norms_folded, quick.optimization.error < 1e-5
    ('MobileNetV3', 13, True)
    """
    check_model(model)
    check_target(target)
    if is_on_meta(model):
        raise DeployError("a model on the meta device has no weights to optimise: build it with weights")
    quick = full_clone(model).eval().requires_grad_(False)
    inputs = _inputs(quick, example_input)
    wanted, shapes = _run(quick, inputs)
    before = _size(quick, inputs)
    inside = sum(norm_count(block) for block in _blocks(quick).values())
    layers = _replace_blocks_(quick, shapes, _Settings(target, autotune, threads, forms or {}), watch)
    standardise_once_(quick)
    folded = fold_norms_(quick, inputs)
    found, _ = _run(quick, inputs)
    after = _size(quick, inputs)
    quick.optimization = Optimization(  # type: ignore[assignment]
        target=target,
        threads=threads,
        autotuned=autotune and forms is None,
        input_shape=tuple(next(x.shape for x in tree_flatten(inputs)[0] if isinstance(x, Tensor))),
        params_before=before[0],
        params_after=after[0],
        macs_before=before[1],
        macs_after=after[1],
        norms_folded=len(folded) + inside,
        error=_checked(_difference(wanted, found), quick),
        layers=layers,
    )
    return quick


@dataclass(frozen=True)
class _Settings:
    target: str
    autotune: bool
    threads: int | None
    forms: Mapping[str, str]


def _inputs(model: nn.Module, example: Tensor | Inputs | None) -> Inputs:
    """What the model is called with: the example as it is, or one random sample of the model's input size."""
    if example is not None:
        return example if isinstance(example, tuple) else (example,)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    zeros = inputs_for(model, source_of_module(model))
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(x.shape, generator=generator).to(device) for x in zeros)


def _blocks(model: nn.Module) -> dict[str, PointwiseBlock]:
    return {name: module for name, module in model.named_modules() if isinstance(module, PointwiseBlock)}


@torch.no_grad()
def _run(model: nn.Module, inputs: Inputs) -> tuple[list[Tensor], dict[str, Tensor]]:
    """The output tensors of a pass, and the (first) input of each block in it. Raises :class:`DeployError`."""
    seen: dict[str, Tensor] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda _module, args: (seen.setdefault(name, args[0].detach()), None)[1]

    handles = [block.register_forward_pre_hook(note(name)) for name, block in _blocks(model).items()]
    try:
        outputs = model(*inputs)
    except Exception as error:
        lines = str(error).splitlines() or [""]
        raise DeployError(f"the model does not run on the example input: {type(error).__name__}: {lines[0]}") from error
    finally:
        for handle in handles:
            handle.remove()
    return [leaf for leaf in tree_flatten(outputs)[0] if isinstance(leaf, Tensor)], seen


def _size(model: nn.Module, inputs: Inputs) -> tuple[int, int]:
    """Parameters, and MACs of one pass."""
    return sum(p.numel() for p in model.parameters()), observe(model, inputs).total.macs


def _replace_blocks_(
    model: nn.Module, seen: Mapping[str, Tensor], settings: _Settings, watch: Watcher | None
) -> tuple[LayerForm, ...]:
    """Put the chosen form of each block in its place. Blocks that are alike are measured once."""
    known: dict[Any, Choice] = {}
    layers, new_of = [], {}
    blocks = _blocks(model)
    for name, block in blocks.items():
        choice = _choose(name, block, seen.get(name), settings, known)
        made = choice.form.build().eval()
        before, after = (sum(p.numel() for p in module.parameters()) for module in (block, made))
        layers.append(LayerForm(name, choice.form.name, before, after, choice.seconds))
        new_of[id(block)] = made
        if watch is not None:
            watch(name, len(blocks))
    for parent in list(model.modules()):
        for child_name, child in list(parent._modules.items()):
            if child is not None and id(child) in new_of:
                parent._modules[child_name] = new_of[id(child)]
    return tuple(layers)


def _choose(
    name: str, block: PointwiseBlock, seen: Tensor | None, settings: _Settings, known: dict[Any, Choice]
) -> Choice:
    folded = fold(block)
    forms = forms_of(folded)
    if settings.forms:
        given = tuning.named(forms, settings.forms.get(name, ""))
        if given is None:
            has = ", ".join(form.name for form in forms)
            raise DeployError(f"'{name}' has no form '{settings.forms.get(name)}': it has {has}; optimise it again")
        return given
    if not settings.autotune or seen is None:
        return tuning.estimated(forms)
    key = tuning.key_of(block, folded, tuple(seen.shape))
    if key not in known:
        known[key] = tuning.measured(forms, seen, settings.target, settings.threads)
    name_of_best = known[key].form.name
    return Choice(next(form for form in forms if form.name == name_of_best), known[key].seconds)


def _difference(wanted: list[Tensor], found: list[Tensor]) -> float:
    """The largest difference of any output, relative to the largest number of that output."""
    if [x.shape for x in wanted] != [x.shape for x in found]:
        return float("inf")
    worst = 0.0
    for a, b in zip(wanted, found, strict=True):
        if a.is_floating_point() and a.numel():
            scale = a.abs().max().clamp_min(torch.finfo(a.dtype).tiny)
            worst = max(worst, ((a - b).abs().max() / scale).item())
    return worst


def _checked(error: float, model: nn.Module) -> float:
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    if not error <= min(_MOST_ERROR, _MOST_ROUNDINGS * torch.finfo(dtype).eps):
        raise DeployError(
            f"the optimised model differs by {error:.1e} of its largest output: is every call of the model alike, "
            "with no randomness in eval mode?"
        )
    return error
