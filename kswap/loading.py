"""A directory becomes a conversion, or the original that it was converted from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from kswap.converted import Conversion
from kswap.errors import KswapError, ModelError, SavedError
from kswap.graph.call import Call
from kswap.graph.clone import full_clone
from kswap.graph.edits import apply_edits_
from kswap.graph.splice import splice_
from kswap.planner.plan import Plan
from kswap.saved.directory import plan_of, read_report, read_saved, source_of, versions_text
from kswap.saved.weights import load_weights_, read_weights
from kswap.sources.builders import build
from kswap.sources.check import check_model
from kswap.sources.device import choose_device
from kswap.sources.recognise import source_of_module, structure_hash
from kswap.sources.source import Source, parse_source


def load(
    directory: str | Path,
    device: str | torch.device | None = None,
    model: nn.Module | None = None,
    trust_source: bool = False,
) -> Conversion:
    """The conversion that was saved in ``directory``, in eval mode, on ``device`` (the CPU without one).

    The original is built from its source, the plan is replayed on it, and the weights are loaded. A model of
    a user's own (``package.module:factory``, ``file.py:factory``) runs that code: pass ``trust_source=True``
    if you trust the directory and the code. One that was passed to :func:`kswap.convert` as a module has to
    be passed again, unconverted, as ``model``. Raises :class:`SavedError` for a directory that is
    damaged, foreign or does not fit.
    """
    target = choose_device(device)
    root = Path(directory)
    saved = read_saved(root)
    source, plan = source_of(saved), plan_of(root, saved)
    report = read_report(root)
    base = _base(root, source, model, trust_source)
    base_hash = structure_hash(base)
    if base_hash != saved.get("base_hash"):
        raise SavedError(
            f"{root} was converted from another {source.title} than this one: its layers differ "
            f"(saved with {versions_text(saved)}); build the same model, or convert again"
        )
    call = _call_of(root, saved, plan)
    converted = _replay(base, plan, root)
    dtype = getattr(torch, str(saved.get("dtype")), None)
    if isinstance(dtype, torch.dtype):
        converted.to(dtype)
    load_weights_(converted, root, str(saved.get("weights_sha256")))
    frozen = set(saved.get("frozen", ()))
    for name, parameter in converted.named_parameters():
        parameter.requires_grad_(name not in frozen)
    return Conversion(converted.to(target).eval(), plan, report, source, base_hash, call)


def original_model(
    model: nn.Module | str, kwargs: dict[str, Any], meta: bool = False, pretrained: bool = False
) -> tuple[Source, nn.Module]:
    """The source and the original: a module is given back as it is, a name is built (``meta``: without weights).

    Raises :class:`ModelError`.
    """
    check_model(model)
    if isinstance(model, nn.Module):
        if kwargs or pretrained:
            names = ", ".join([*kwargs, *(["pretrained"] if pretrained else [])])
            raise ModelError(f"{names} can only be given with a model's name, not with a module")
        return source_of_module(model), model
    if Path(model).is_dir():
        return original_of(model, meta=meta)
    source = parse_source(model, kwargs)
    return source, build(source, pretrained=pretrained, meta=meta)


def original_of(directory: str | Path, meta: bool = False) -> tuple[Source, nn.Module]:
    """The original that a saved directory was converted from, with every saved weight that it shares.

    Raises :class:`SavedError` as :func:`load` does.
    """
    root = Path(directory)
    saved = read_saved(root)
    source = source_of(saved)
    if source.needs_trust or source.kind == "module":
        raise SavedError(
            f"the original of {root} comes from {source.title}: name that as the model instead of the directory"
        )
    base = build(source, meta=meta)
    if not meta:
        tensors = read_weights(root, str(saved.get("weights_sha256")))
        own = base.state_dict()
        shared = {k: v for k, v in tensors.items() if k in own and own[k].shape == v.shape}
        base.load_state_dict(shared, strict=False)
    return source, base


def _base(root: Path, source: Source, model: nn.Module | None, trust_source: bool) -> nn.Module:
    if model is not None:
        return full_clone(model).cpu()
    if source.kind == "module":
        raise SavedError(
            f"{root} was converted from a {source.name} that kswap cannot build: load it with "
            f"kswap.load(directory, model=...), giving the unconverted model"
        )
    if source.needs_trust and not trust_source:
        raise SavedError(
            f"loading {root} would run or fetch {source.title}: "
            "if you trust it, say so (trust_source=True, --trust-source)"
        )
    try:
        return build(source)
    except ModelError as error:
        raise SavedError(f"the original of {root} cannot be built: {error}") from error


def _call_of(root: Path, saved: dict[str, Any], plan: Plan) -> Call:
    """How the model was called; directories of kswap 0.1.0 do not say, and mean one tensor."""
    if "inputs" not in saved:
        return Call((torch.empty(1, *plan.input_size, device="meta"),))
    try:
        return Call.from_json(saved["inputs"])
    except ModelError as error:
        raise SavedError(f"the plan in {root} is damaged: {error}") from error


def _replay(base: nn.Module, plan: Plan, root: Path) -> nn.Module:
    try:
        apply_edits_(base, plan.edits)
        splice_(base, plan)
    except KswapError as error:
        raise SavedError(f"{root}: {error}") from error
    return base
