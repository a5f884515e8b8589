"""Where pictures are read from: a folder, or a zip file in place."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from kswap.data import decoding
from kswap.errors import DataError, first_line

LAYOUT = "SPLIT/CLASS/FILE or CLASS/FILE"

_DEEPEST = 8


class Store(Protocol):
    """Files by name; names have forward slashes and are relative to ``path``."""

    path: Path

    def names(self) -> Iterator[str]: ...

    def read(self, name: str) -> bytes: ...

    def version(self, name: str) -> str:
        """A text that is another one once the file has changed; found without reading it."""


def open_store(path: Path, content: str = LAYOUT) -> Store:
    """The store at ``path``; ``content`` is what it should hold, for messages.

    Raises :class:`DataError` for anything but a folder or a zip file.
    """
    if path.is_dir():
        return FolderStore(path)
    if not path.exists():
        raise DataError(f"there is no folder or zip file {path}")
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise DataError(f"{path} is neither a folder nor a whole zip file: pass one of {content}")
    return ZipStore(path)


class FolderStore:
    """Files below a folder. Links are followed, but not deeper than a data set can be."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> Iterator[str]:
        yield from self._below("", 1)

    def _below(self, inner: str, depth: int) -> Iterator[str]:
        try:
            entries = sorted(os.scandir(self.path / inner), key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"{self.path / inner} cannot be read: {error.strerror}") from error
        for entry in entries:
            name = f"{inner}/{entry.name}" if inner else entry.name
            if entry.is_dir():
                if depth < _DEEPEST and not entry.name.startswith("."):
                    yield from self._below(name, depth + 1)
            elif entry.is_file():
                yield name

    def read(self, name: str) -> bytes:
        return decoding.read_bytes(self.path / name)

    def version(self, name: str) -> str:
        try:
            found = (self.path / name).stat()
        except OSError as error:
            raise DataError(f"{self.path / name} cannot be read: {error.strerror}") from error
        return f"{found.st_size} {found.st_mtime_ns}"


class ZipStore:
    """Members of a zip file. Opened once per process, so that the data set can be sent to workers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: tuple[int, zipfile.ZipFile] | None = None

    def _archive(self) -> zipfile.ZipFile:
        if self._opened is None or self._opened[0] != os.getpid():
            try:
                self._opened = (os.getpid(), zipfile.ZipFile(self.path))
            except OSError as error:
                raise DataError(f"{self.path} cannot be read: {error.strerror or error}") from error
            except Exception as error:  # a hostile directory of a zip can raise anything
                raise DataError(
                    f"{self.path} is not a whole zip file ({first_line(error)}): copy or make it again"
                ) from error
        return self._opened[1]

    def names(self) -> Iterator[str]:
        seen = set()
        for member in self._archive().infolist():
            if member.is_dir():
                continue
            parts = PurePosixPath(member.filename).parts
            if member.filename.startswith("/") or "\\" in member.filename or ".." in parts:
                raise DataError(
                    f"{self.path} has a file '{member.filename}' that leads out of it: kswap does not read it"
                )
            if member.filename in seen:
                raise DataError(f"{self.path} has two files '{member.filename}': make the zip again")
            seen.add(member.filename)
            yield member.filename

    def read(self, name: str) -> bytes:
        archive = self._archive()
        try:
            with archive.open(name) as file:
                return file.read(decoding.MOST_BYTES + 1)
        except Exception as error:  # damaged, encrypted, packed in an unknown way: each raises its own kind
            raise DataError(f"{self.path}/{name} cannot be read: {first_line(error)}") from error

    def version(self, name: str) -> str:
        found = self._archive().getinfo(name)
        return f"{found.file_size} {found.CRC:08x}"

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_opened": None}
