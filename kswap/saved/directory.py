"""A conversion as a directory, and a directory as a conversion. Nothing in it is ever executed.

``model.safetensors`` holds the weights, ``plan.json`` all that is needed to build the model again (source,
versions, plan, hashes). The report, in the formats that :func:`kswap.report.renderers.saved_files` lists, is for
reading.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kswap.errors import PlanError, SavedError
from kswap.files import read_json, write_text
from kswap.planner.plan import Plan
from kswap.report.renderers import saved_files, text_of
from kswap.report.report import Report
from kswap.saved.files import FILES, OPTIMIZED, PLAN, REPORT, WEIGHTS, inside
from kswap.sources.source import Source
from kswap.version import __version__

if TYPE_CHECKING:
    from torch import nn

FORMAT = 1


def save(
    model: nn.Module,
    plan: Plan,
    report: Report,
    source: Source,
    base_hash: str,
    call: dict[str, Any],
    directory: str | Path,
    force: bool = False,
) -> Path:
    """Write a conversion into ``directory``, whole or not at all; gives its path.

    An existing directory is only replaced with ``force``, and only if kswap wrote it. Raises
    :class:`SavedError` when the directory is in the way or cannot be written.
    """
    from safetensors.torch import save_model

    from kswap.saved.weights import dtype_of, hash_of

    target = check_target(directory, force)
    source_json = source.to_json()
    with _fresh_directory(target) as fresh:
        save_model(model, str(fresh / WEIGHTS), metadata={"kswap": __version__})
        (fresh / WEIGHTS).chmod(0o644)
        saved = {
            "format": FORMAT,
            "kswap": __version__,
            "versions": {name: _version_of(name) for name in ("torch", "timm", "torchvision")},
            "source": source_json,
            "base_hash": base_hash,
            "inputs": call,
            "weights_sha256": hash_of(fresh / WEIGHTS),
            "dtype": dtype_of(model),
            "frozen": [name for name, p in model.named_parameters() if not p.requires_grad],
            "plan": plan.to_json(),
        }
        write_text(fresh / PLAN, json.dumps(saved, indent=1), SavedError)
        for name, format_ in saved_files("report").items():
            write_text(fresh / name, text_of(report, format_), SavedError)
    return target


def read_report(directory: str | Path) -> Report:
    """The report in a saved directory, or in a JSON file that holds one. Raises :class:`SavedError`."""
    path = Path(directory)
    if path.is_file():
        if saved_files("report").get(path.name, "json") != "json":
            raise SavedError(f"{path} is for reading: give its directory {path.parent}, or the {REPORT} in it")
        return Report.from_json(read_json(path, SavedError))
    _check_is_saved(path)
    return Report.from_json(read_json(inside(path, REPORT), SavedError))


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


def versions_text(saved: dict[str, Any]) -> str:
    versions = saved.get("versions")
    known = versions if isinstance(versions, dict) else {}
    return ", ".join(f"{name} {version}" for name, version in known.items() if version) or "unknown versions"


def _check_is_saved(root: Path) -> None:
    if not root.exists():
        raise SavedError(f"there is no directory {root}")
    if not root.is_dir():
        raise SavedError(f"{root} is not a directory that kswap saved")
    if not (root / PLAN).is_file():
        raise SavedError(f"{root} is not a directory that kswap saved: it has no {PLAN}")


def read_saved(root: Path) -> dict[str, Any]:
    _check_is_saved(root)
    saved = read_json(inside(root, PLAN), SavedError)
    if not isinstance(saved, dict) or "format" not in saved:
        raise SavedError(f"{root / PLAN} is not of kswap: it names no format")
    if saved["format"] != FORMAT:
        raise SavedError(
            f"{root} has format {saved['format']!r} (kswap {saved.get('kswap')}), and this kswap {__version__} "
            f"reads format {FORMAT}: use a kswap that fits"
        )
    return saved


def source_of(saved: dict[str, Any]) -> Source:
    return Source.from_json(saved.get("source"))


def plan_of(root: Path, saved: dict[str, Any]) -> Plan:
    try:
        return Plan.from_json(saved.get("plan"))
    except PlanError as error:
        raise SavedError(f"the plan in {root} cannot be replayed: {error}") from error
