"""A directory becomes a conversion, or the original that it was converted from."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kswap.converted import Conversion
from kswap.errors import KswapError, ModelError, SavedError, excerpt, wording
from kswap.graph.clone import full_clone
from kswap.graph.edits import apply_edits_
from kswap.graph.narrow import narrow_all_
from kswap.graph.random_state import preserved_random_state
from kswap.graph.splice import splice_
from kswap.hub.address import HubAddress, is_address
from kswap.hub.pull import fetched
from kswap.planner.plan import Plan
from kswap.progress import step
from kswap.saved.manifest import Manifest, read_manifest
from kswap.saved.reading import read_report
from kswap.saved.weights import load_weights_, read_weights
from kswap.sources.builders import build
from kswap.sources.check import check_original
from kswap.sources.device import choose_device
from kswap.sources.recognise import source_of_module, structure_hash
from kswap.sources.source import Source, parse_source
from kswap.sources.trained import build_trained, check_weights, with_weights


def load(
    directory: str | Path,
    device: str | torch.device | None = None,
    model: nn.Module | None = None,
    trust_source: bool = False,
) -> Conversion:
    """The conversion that was saved in ``directory``, or pushed to the Hugging Face Hub, in eval mode.

    The original is built from its source, the plan is replayed on it, and the weights are loaded. The global random
    state is not used.

    Args:
        directory: what :meth:`kswap.Conversion.save` wrote, or ``hf-hub:owner/name``, with ``@revision`` or without:
            then only files of known names are fetched, and the rules for directories hold.
        device: where the model goes: ``"auto"``, ``"cpu"``, ``"cuda"``, ...; the CPU without one.
        model: the original, unconverted, where it was passed to :func:`kswap.convert` as a module.
        trust_source: whether the user's own code (``package.module:factory``, ``file.py:factory``) that built the
            original may run. Pass ``True`` if you trust the directory and the code.

    Raises:
        SavedError: the directory is damaged, of another program, or does not fit.
        HubError: the repository cannot be reached or read, or holds no model of kswap.
    """
    if is_address(directory):
        address = HubAddress.parse(str(directory))
        with fetched(address) as (root, _):
            try:
                return load(root, device, model, trust_source)
            except SavedError as error:
                raise SavedError(str(error).replace(str(root), str(address))) from error
    target = choose_device(device)
    root = Path(directory)
    manifest = read_manifest(root)
    report = read_report(root)
    with preserved_random_state():  # fresh weights are drawn, and then overwritten
        step("building the original")
        base = _base(root, manifest, model, trust_source)
        step("putting the blocks in")
        converted = _replay(base, manifest.plan, root)
    if manifest.dtype is not None:
        converted.to(getattr(torch, manifest.dtype))
    step("reading the weights")
    load_weights_(converted, root, manifest.weights_sha256)
    frozen = set(manifest.frozen)
    for name, parameter in converted.named_parameters():
        parameter.requires_grad_(name not in frozen)
    converted.to(target).eval()
    return Conversion(converted, manifest.plan, report, manifest.source, manifest.base_hash, manifest.call)


def original_model(
    model: nn.Module | str,
    kwargs: dict[str, Any],
    meta: bool = False,
    pretrained: bool = False,
    weights: str | Path | None = None,
    or_converted: bool = False,
) -> tuple[Source, nn.Module]:
    """The source and the original: a module is returned unchanged, a name is built (``meta``: without weights).

    The original of a saved directory has the weights of the directory where it shares them, unless others are asked
    for. ``weights`` is a file of trained weights, see :func:`kswap.sources.trained.load_checkpoint_`, and
    ``or_converted`` at :func:`kswap.sources.trained.with_weights`. Raises :class:`ModelError`.
    """
    check_original(model)
    step("building the original")
    if isinstance(model, nn.Module):
        given = {"pretrained": pretrained, "weights": weights is not None}
        names = ", ".join([*kwargs, *(name for name, is_given in given.items() if is_given)])
        if names:
            raise ModelError(f"{names} can only be given with a model's name, not with a module")
        return source_of_module(model), model
    if os.path.isdir(model):
        check_weights(pretrained, weights)
        source, base = original_of(model, meta=meta or pretrained)
        source = dataclasses.replace(source, weights_file=None)  # these are weights of the directory
        if meta or (weights is None and not pretrained):
            return source, base
        return (
            build_trained(source, pretrained) if weights is None else with_weights(source, base, weights, or_converted)
        )
    source = parse_source(model, kwargs)
    return (source, build(source, meta=True)) if meta else build_trained(source, pretrained, weights, or_converted)


def original_of(directory: str | Path, meta: bool = False) -> tuple[Source, nn.Module]:
    """The original that a saved directory was converted from, with every saved weight that it shares.

    Raises :class:`SavedError` as :func:`load` does.
    """
    root = Path(directory)
    manifest = read_manifest(root)
    source = manifest.source
    if source.needs_trust or source.kind == "module":
        raise SavedError(
            f"the original of {excerpt(root, 200)} comes from {excerpt(source.title)}: "
            "name that as the model instead of the directory"
        )
    _check_structure(root, manifest, _build(root, manifest, meta=True))
    base = _build(root, manifest, meta=meta)
    if not meta:
        tensors = read_weights(root, manifest.weights_sha256)
        own = base.state_dict()
        shared = {k: v for k, v in tensors.items() if k in own and own[k].shape == v.shape}
        base.load_state_dict(shared, strict=False)
    return source, base


def _base(root: Path, manifest: Manifest, model: nn.Module | None, trust_source: bool) -> nn.Module:
    """The original, whose layers are those of the saved one."""
    source = manifest.source
    if model is not None:
        base = full_clone(model).cpu()
        _check_structure(root, manifest, base)
        return base
    if source.kind == "module":
        raise SavedError(
            f"{excerpt(root, 200)} was converted from a {excerpt(source.name)} that kswap cannot build: load it with "
            f"kswap.load(directory, model=...), passing the unconverted model"
        )
    if source.needs_trust:
        if not trust_source:
            how = wording("pass trust_source=True", "say so with --trust-source")
            raise SavedError(
                f"loading {excerpt(root, 200)} would run or fetch {excerpt(source.title, 200)}: if you trust it, {how}"
            )
        base = _build(root, manifest)
        _check_structure(root, manifest, base)
        return base
    # Without weights first: a stranger's arguments may ask for more memory than there is.
    _check_structure(root, manifest, _build(root, manifest, meta=True))
    return _build(root, manifest)


def _build(root: Path, manifest: Manifest, meta: bool = False) -> nn.Module:
    try:
        return build(manifest.source, meta=meta)
    except ModelError as error:
        raise SavedError(f"the original of {excerpt(root, 200)} cannot be built: {error}") from error


def _check_structure(root: Path, manifest: Manifest, base: nn.Module) -> None:
    if structure_hash(base) != manifest.base_hash:
        raise SavedError(
            f"{excerpt(root, 200)} was converted from another {excerpt(manifest.source.title)} than this one: its "
            f"layers differ (saved with {manifest.versions_text}); build the same model, or convert again"
        )


def _replay(base: nn.Module, plan: Plan, root: Path) -> nn.Module:
    try:
        apply_edits_(base, plan.edits)
        narrow_all_(base, plan.narrowings)
        splice_(base, plan)
    except KswapError as error:
        raise SavedError(f"{root}: {error}") from error
    return base
