"""From the Hub to a saved directory. Only files of known names and bounded sizes are fetched."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kswap.errors import HubError, SavedError, excerpt
from kswap.files import MOST_BYTES, link_or_copy
from kswap.hub.address import HubAddress
from kswap.hub.client import OfflineError, download, model_info
from kswap.saved.directory import check_writable
from kswap.saved.files import FILES, PLAN, REPORT, WEIGHTS
from kswap.saved.manifest import read_manifest
from kswap.saved.reading import read_report
from kswap.saved.replacing import fresh_directory
from kswap.saved.weights import hash_of

# Larger than the weights of any timm model.
MOST_WEIGHTS = 32 * 2**30
_NEEDED = (PLAN, REPORT, WEIGHTS)


@dataclass(frozen=True)
class Pulled:
    """Where a model was written, and the address of the commit that it is from."""

    directory: Path
    address: HubAddress


def pull(address: str, out: str | Path, revision: str | None = None, force: bool = False) -> Pulled:
    """Write a model of the Hub into a directory as :meth:`kswap.Conversion.save` does, whole or not at all.

    Args:
        address: ``hf-hub:owner/name``, or ``hf-hub:owner/name@revision``.
        out: the directory.
        revision: a branch, a tag, or a commit's hash, instead of the newest.
        force: whether a directory that kswap saved may be replaced.

    Raises:
        HubError: the repository cannot be reached or read, or holds no model of kswap.
        SavedError: it is damaged, or ``out`` cannot be written.
    """
    target = check_writable(out, force)
    with fetched(HubAddress.parse(address, revision)) as (source, pinned):
        manifest = read_manifest(source)
        read_report(source)
        if hash_of(source / WEIGHTS) != manifest.weights_sha256:
            raise SavedError(f"{pinned} is damaged: its weights are not those of its plan; push it again")
        try:
            with fresh_directory(target, force) as fresh:
                for path in source.iterdir():
                    shutil.copyfile(path, fresh / path.name)
                check_writable(target, force)  # what appeared meanwhile
        except OSError as error:
            shown = excerpt(target, 200)
            raise SavedError(f"{shown} cannot be written: {error.strerror}; choose another directory") from error
    return Pulled(target, pinned)


@contextlib.contextmanager
def fetched(address: HubAddress) -> Iterator[tuple[Path, HubAddress]]:
    """A directory with the files of a model as plain files, until the end; and the address of their commit.

    They come from the client's cache where they are there. Without a connection, the cache says which commit is meant.
    Raises :class:`HubError`.
    """
    try:
        pinned, names = _listed(address)
        download(address, PLAN)  # by the name of the branch: the cache then knows which commit that is
        paths = {name: download(pinned, name) for name in names}
    except OfflineError:
        pinned, paths = address, _cached(address)
    with tempfile.TemporaryDirectory(prefix="kswap-") as temporary:
        directory = Path(temporary) / address.repo.replace("/", "--")
        directory.mkdir()
        for name, path in paths.items():
            _check_size(address, name, path.stat().st_size)
            link_or_copy(path.resolve(), directory / name)
        yield directory, pinned


def _listed(address: HubAddress) -> tuple[HubAddress, tuple[str, ...]]:
    """The address of the newest commit that ``address`` names, and the files to fetch of it."""
    info = model_info(address)
    sizes = {file.rfilename: file.size for file in info.siblings or ()}
    for name in _NEEDED:
        if name not in sizes:
            raise HubError(f"{address} is no model that kswap pushed: it has no {name}")
    names = tuple(name for name in FILES if name in sizes)
    for name in names:
        _check_size(address, name, sizes[name])
    return replace(address, revision=info.sha), names


def _cached(address: HubAddress) -> dict[str, Path]:
    try:
        return {name: download(address, name, cached=True) for name in _NEEDED}
    except OfflineError as error:
        raise OfflineError(
            f"the Hub cannot be reached for {address}, and it was not fetched before: go online"
        ) from error


def _check_size(address: HubAddress, name: str, size: int | None) -> None:
    most = MOST_WEIGHTS if name == WEIGHTS else MOST_BYTES
    if size is None or size > most:
        found = "unknown" if size is None else f"{size:,} bytes"
        raise HubError(f"{name} of {address} is too large ({found}): at most {most:,} bytes are read")
