"""Whether an export can be written to a file, checked before any work; and how it gets there, whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kswap.errors import DeployError
from kswap.runtimes.formats import check_format


def check_destination(to: str, path: str | Path, force: bool = False) -> Path:
    """The file to write, absolute. Raises :class:`DeployError` where it cannot be written in the format ``to``.

    >>> check_destination("torch-export", "model.onnx")
    Traceback (most recent call last):
    kswap.errors.DeployError: model.onnx is no name for torch-export: it must end in .pt2
    """
    format_ = check_format(to)
    target = Path(path).expanduser().absolute()
    if target.suffix != format_.suffix:
        raise DeployError(f"{path} is no name for {to}: it must end in {format_.suffix}")
    for file in reversed(format_.files(target)):
        if file.is_dir() or (file.exists() and not force):
            raise DeployError(f"{file} exists already: choose another file, or overwrite it with --force (force=True)")
    if not target.parent.is_dir() or not os.access(target.parent, os.W_OK | os.X_OK):
        raise DeployError(f"{path} cannot be written: {target.parent} is no directory that may be written to")
    return target


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """A place for the files of an export beside ``target``; at the end of the block they replace those that are there.

    Where the block raises, nothing is left. Raises :class:`DeployError` where nothing can be written.
    """
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as fresh:
            yield Path(fresh) / target.name
            # The graph last: who finds it finds its weights too.
            for file in sorted(Path(fresh).iterdir(), key=lambda file: file.name == target.name):
                os.replace(file, target.parent / file.name)
    except OSError as error:
        raise DeployError(f"{target} cannot be written: {error.strerror or error}; choose another place") from error
