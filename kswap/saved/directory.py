"""A conversion as a directory. Nothing in it is ever executed.

``model.safetensors`` holds the weights, ``plan.json`` all that is needed to build the model again
(:class:`kswap.saved.manifest.Manifest`). The report, in the formats that
:func:`kswap.report.renderers.saved_files` lists, is for reading.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from kswap.errors import SavedError, excerpt, wording
from kswap.files import write_text
from kswap.graph.call import Call
from kswap.packages import installed_versions
from kswap.planner.plan import Plan
from kswap.report.renderers import saved_files, text_of
from kswap.report.report import Report
from kswap.saved.files import PLAN, WEIGHTS, is_ours
from kswap.saved.manifest import MANIFEST_FORMAT, Manifest, write_manifest
from kswap.saved.replacing import fresh_directory
from kswap.sources.source import Source
from kswap.version import __version__

if TYPE_CHECKING:
    from torch import nn

# The packages that build a model.
_PACKAGES = ("torch", "timm", "torchvision")


def save(
    model: nn.Module,
    plan: Plan,
    report: Report,
    source: Source,
    base_hash: str,
    call: Call,
    directory: str | Path,
    force: bool = False,
) -> Path:
    """Write a conversion into ``directory``, whole or not at all; returns its path.

    Args:
        model: the converted model.
        plan: what was replayed on the original.
        report: its report.
        source: where the original came from.
        base_hash: :func:`kswap.sources.recognise.structure_hash` of the original.
        call: how the model is called; the shapes and types of its inputs are saved.
        directory: where to write. An existing directory is only replaced if kswap wrote it.
        force: whether an existing directory may be replaced; it is exchanged in one step where the system can
            (see :mod:`kswap.saved.replacing`).

    Raises:
        SavedError: the directory is in the way, appeared meanwhile, or cannot be written.
    """
    from kswap.saved.weights import dtype_of, hash_of, save_weights

    target = check_writable(directory, force)
    source = source.without_unsafe_arguments()
    try:
        with fresh_directory(target, force) as fresh:
            save_weights(model, fresh)
            manifest = Manifest(
                format=MANIFEST_FORMAT,
                kswap=__version__,
                versions=installed_versions(_PACKAGES),
                source=source,
                base_hash=base_hash,
                weights_sha256=hash_of(fresh / WEIGHTS),
                dtype=dtype_of(model),
                frozen=tuple(name for name, p in model.named_parameters() if not p.requires_grad),
                plan=plan,
                inputs=call,
            )
            write_manifest(fresh, manifest)
            write_report(fresh, report)
            check_writable(target, force)  # what appeared meanwhile
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise SavedError(_in_the_way(target)) from error
        raise SavedError(
            f"{excerpt(target, 200)} cannot be written: {error.strerror}; choose another directory"
        ) from error
    return target


def write_report(directory: Path, report: Report) -> None:
    """Write a report in all formats that a saved directory holds. Raises :class:`SavedError`."""
    for name, format_ in saved_files("report").items():
        write_text(directory / name, text_of(report, format_), SavedError)


def check_writable(directory: str | Path, force: bool = False) -> Path:
    """The absolute path of the directory to write, if it may be written: asked before the work and at its end.

    Raises :class:`SavedError`.
    """
    shown = excerpt(directory, 200)
    if "\0" in str(directory):
        raise SavedError(f"'{shown}' is no path: it holds a NUL")
    target = Path(directory).expanduser().absolute()
    try:
        if target.is_symlink() or (target.exists() and not target.is_dir()):
            raise SavedError(f"{shown} is not a directory: choose another place")
        names = [path.name for path in target.iterdir()] if target.is_dir() else []
        if names:
            if PLAN not in names or not all(map(is_ours, names)):
                raise SavedError(f"{shown} holds files that are not of kswap: choose another directory")
            if not force:
                raise SavedError(_in_the_way(target))
        existing = next(parent for parent in target.parents if parent.exists())
    except OSError as error:
        raise SavedError(f"{shown} cannot be written: {error.strerror}; choose another directory") from error
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise SavedError(f"{shown} cannot be written: no permission in {existing}; choose another directory")
    return target


def load_call(directory: str | Path, source: Source) -> str:
    """The call that loads what was saved, to be shown.

    >>> load_call("n2", Source("file", "net.py:build"))
    "kswap.load('n2', trust_source=True)"
    """
    more = ", model=..." if source.kind == "module" else ", trust_source=True" if source.needs_trust else ""
    return f"kswap.load({str(directory)!r}{more})"


def _in_the_way(target: Path) -> str:
    overwrite = wording("pass force=True to overwrite it", "overwrite it with --force")
    return f"{excerpt(target, 200)} exists already: choose another directory, or {overwrite}"
