"""A conversion as a directory, and a directory as a conversion. Nothing in it is ever executed.

``model.safetensors`` holds the weights, ``plan.json`` all that is needed to build the model again (source,
versions, plan, hashes), ``report.json``, ``report.md`` and ``report.html`` are for reading.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kswap.errors import KswapError, ModelError, PlanError, SavedError
from kswap.files import inside, read_json, write_text
from kswap.planner.plan import Plan
from kswap.report.report import Report
from kswap.sources import Source, structure_hash
from kswap.version import __version__

if TYPE_CHECKING:
    import torch
    from torch import nn

    from kswap.conversion import Conversion

FORMAT = 1
WEIGHTS, PLAN, REPORT = "model.safetensors", "plan.json", "report.json"
MARKDOWN, HTML = "report.md", "report.html"
FILES = (WEIGHTS, PLAN, REPORT, MARKDOWN, HTML)
# What kswap.deploy.saved adds later.
OPTIMIZED = "optimized.json"

_MOST_HEADER = 64 * 2**20


def save(conversion: Conversion, directory: str | Path, force: bool = False) -> Path:
    """Write a conversion into ``directory``, whole or not at all; gives its path.

    An existing directory is only replaced with ``force``, and only if kswap wrote it. Raises
    :class:`SavedError` when the directory is in the way or cannot be written.
    """
    from safetensors.torch import save_model

    from kswap.report.html import render_html
    from kswap.report.markdown import render_markdown

    target = check_target(directory, force)
    source = conversion.source.to_json()
    with _fresh_directory(target) as fresh:
        save_model(conversion.model, str(fresh / WEIGHTS), metadata={"kswap": __version__})
        (fresh / WEIGHTS).chmod(0o644)
        saved = {
            "format": FORMAT,
            "kswap": __version__,
            "versions": {name: _version_of(name) for name in ("torch", "timm", "torchvision")},
            "source": source,
            "base_hash": conversion.base_hash,
            "weights_sha256": _hash_of(fresh / WEIGHTS),
            "dtype": _dtype_of(conversion.model),
            "frozen": [name for name, p in conversion.model.named_parameters() if not p.requires_grad],
            "plan": conversion.plan.to_json(),
        }
        write_text(fresh / PLAN, json.dumps(saved, indent=1))
        write_text(fresh / REPORT, json.dumps(conversion.report.to_json(), indent=1))
        write_text(fresh / MARKDOWN, render_markdown(conversion.report))
        write_text(fresh / HTML, render_html(conversion.report))
    return target


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
    import torch

    from kswap.conversion import Conversion
    from kswap.original import choose_device

    target = choose_device(device)
    root = Path(directory)
    saved = _read_saved(root)
    source, plan = _source_of(saved), _plan_of(root, saved)
    report = read_report(root)
    base = _base(root, source, model, trust_source)
    base_hash = structure_hash(base)
    if base_hash != saved.get("base_hash"):
        raise SavedError(
            f"{root} was converted from another {source.title} than this one: its layers differ "
            f"(saved with {_versions_text(saved)}); build the same model, or convert again"
        )
    converted = _replay(base, plan, root)
    dtype = getattr(torch, str(saved.get("dtype")), None)
    if isinstance(dtype, torch.dtype):
        converted.to(dtype)
    _load_weights(converted, root, str(saved.get("weights_sha256")))
    frozen = set(saved.get("frozen", ()))
    for name, parameter in converted.named_parameters():
        parameter.requires_grad_(name not in frozen)
    return Conversion(converted.to(target).eval(), plan, report, source, base_hash)


def original_of(directory: str | Path, meta: bool = False) -> tuple[Source, nn.Module]:
    """The original that a saved directory was converted from, with every saved weight that it shares.

    Raises :class:`SavedError` as :func:`load` does.
    """
    root = Path(directory)
    saved = _read_saved(root)
    source = _source_of(saved)
    if source.needs_trust or source.kind == "module":
        raise SavedError(
            f"the original of {root} comes from {source.title}: name that as the model instead of the directory"
        )
    base = source.build(meta=meta)
    if not meta:
        tensors = _read_weights(root, str(saved.get("weights_sha256")))
        own = base.state_dict()
        shared = {k: v for k, v in tensors.items() if k in own and own[k].shape == v.shape}
        base.load_state_dict(shared, strict=False)
    return source, base


def read_report(directory: str | Path) -> Report:
    """The report in a saved directory, or in a JSON file that holds one. Raises :class:`SavedError`."""
    path = Path(directory)
    if path.is_file():
        return Report.from_json(read_json(path))
    _check_is_saved(path)
    return Report.from_json(read_json(inside(path, REPORT)))


def check_target(directory: str | Path, force: bool = False) -> Path:
    """The directory to write, if it may be written: called before the work as well as at its end.

    Raises :class:`SavedError`.
    """
    target = Path(directory).expanduser().absolute()
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise SavedError(f"{directory} is not a directory: choose another place with --out")
    if target.is_dir() and any(target.iterdir()):
        ours = (target / PLAN).is_file() and {p.name for p in target.iterdir()} <= {*FILES, OPTIMIZED}
        if not ours:
            raise SavedError(f"{directory} holds files that are not of kswap: choose another directory")
        if not force:
            raise SavedError(f"{directory} exists already: choose another directory, or overwrite it with --force")
    existing = next(parent for parent in target.parents if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise SavedError(f"{directory} cannot be written: no permission in {existing}; choose another directory")
    return target


@contextlib.contextmanager
def _fresh_directory(target: Path) -> Iterator[Path]:
    """A new directory beside ``target`` that takes its place when all went well, and else is removed."""
    fresh: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        fresh.chmod(0o755)
        yield fresh
        _put_in_place(fresh, target)
    except OSError as error:
        raise SavedError(f"{target} cannot be written: {error.strerror}; choose another directory") from error
    finally:
        if fresh is not None and fresh.exists():
            shutil.rmtree(fresh, ignore_errors=True)


def _put_in_place(fresh: Path, target: Path) -> None:
    if not target.exists():
        fresh.rename(target)
        return
    old = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.old."))
    target.rename(old / target.name)
    try:
        fresh.rename(target)
    except OSError:
        (old / target.name).rename(target)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _versions_text(saved: dict[str, Any]) -> str:
    versions = saved.get("versions")
    known = versions if isinstance(versions, dict) else {}
    return ", ".join(f"{name} {version}" for name, version in known.items() if version) or "unknown versions"


def _dtype_of(model: nn.Module) -> str | None:
    kinds = {p.dtype for p in model.parameters() if p.is_floating_point()}
    return str(kinds.pop()).removeprefix("torch.") if len(kinds) == 1 else None


def _hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_is_saved(root: Path) -> None:
    if not root.exists():
        raise SavedError(f"there is no directory {root}")
    if not root.is_dir():
        raise SavedError(f"{root} is not a directory that kswap saved")
    if not (root / PLAN).is_file():
        raise SavedError(f"{root} is not a directory that kswap saved: it has no {PLAN}")


def _read_saved(root: Path) -> dict[str, Any]:
    _check_is_saved(root)
    saved = read_json(inside(root, PLAN))
    if not isinstance(saved, dict) or "format" not in saved:
        raise SavedError(f"{root / PLAN} is not of kswap: it names no format")
    if saved["format"] != FORMAT:
        raise SavedError(
            f"{root} has format {saved['format']!r} (kswap {saved.get('kswap')}), and this kswap {__version__} "
            f"reads format {FORMAT}: use a kswap that fits"
        )
    return saved


def _source_of(saved: dict[str, Any]) -> Source:
    return Source.from_json(saved.get("source"))


def _plan_of(root: Path, saved: dict[str, Any]) -> Plan:
    try:
        return Plan.from_json(saved.get("plan"))
    except PlanError as error:
        raise SavedError(f"the plan in {root} cannot be replayed: {error}") from error


def _base(root: Path, source: Source, model: nn.Module | None, trust_source: bool) -> nn.Module:
    if model is not None:
        from kswap.graph.clone import full_clone

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
        return source.build()
    except ModelError as error:
        raise SavedError(f"the original of {root} cannot be built: {error}") from error


def _replay(base: nn.Module, plan: Plan, root: Path) -> nn.Module:
    from kswap.graph.edits import apply_edits_
    from kswap.graph.splice import splice_

    try:
        apply_edits_(base, plan.edits)
        splice_(base, plan)
    except KswapError as error:
        raise SavedError(f"{root}: {error}") from error
    return base


def _read_weights(root: Path, sha256: str) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = inside(root, WEIGHTS)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if path.stat().st_size < 8 + length or length > _MOST_HEADER:
        raise SavedError(f"{path} is damaged or truncated: its header is not whole; copy or convert it again")
    if _hash_of(path) != sha256:
        raise SavedError(f"{path} is not the file that was saved: its hash differs; copy or convert it again")
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (SafetensorError, ValueError, KeyError) as error:
        raise SavedError(f"{path} is damaged: {error}; copy or convert it again") from error
    return tensors


def _load_weights(model: nn.Module, root: Path, sha256: str) -> None:
    """Copy the saved tensors into ``model``; tied weights are saved once and fill all their names."""
    tensors = _read_weights(root, sha256)
    state = model.state_dict()
    filled = {state[name].untyped_storage().data_ptr() for name in set(tensors) & set(state)}
    missing = {name for name in set(state) - set(tensors) if state[name].untyped_storage().data_ptr() not in filled}
    unexpected = set(tensors) - set(state)
    if missing or unexpected:
        raise SavedError(
            f"the weights in {root} do not fit its plan: {len(missing)} tensors are missing, "
            f"{len(unexpected)} are not of this model (first: {sorted(missing | unexpected)[0]})"
        )
    wrong = [name for name, tensor in tensors.items() if tensor.shape != state[name].shape]
    if wrong:
        raise SavedError(f"the weights in {root} do not fit its plan: {wrong[0]} has another shape")
    model.load_state_dict(tensors, strict=False)
