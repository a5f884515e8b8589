"""Pictures in class folders, or in a zip of them, read in place: nothing is ever unpacked."""

from __future__ import annotations

import io
import os
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from torch.utils.data import Dataset

from kswap.errors import KswapError, first_line, nearest

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm"})

# What one picture may take: more is taken for an attempt to fill the memory.
MOST_BYTES = 64 * 2**20
MOST_PIXELS = 64 * 2**20

_DEEPEST = 8
_LAYOUT = "SPLIT/CLASS/FILE or CLASS/FILE"


class DataError(KswapError):
    """Pictures cannot be found or read, or do not fit the model."""


class _Store(Protocol):
    """Where files are read from; names have forward slashes and are relative to the store."""

    path: Path

    def names(self) -> Iterator[str]: ...

    def read(self, name: str) -> bytes: ...


class _Folder:
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
        path = self.path / name
        try:
            with path.open("rb") as file:
                return file.read(MOST_BYTES + 1)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error


class _Zip:
    """Members of a zip file. Opened once a process, so that the data set can be sent to workers."""

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
                raise DataError(f"{self.path} is no whole zip file ({error}): copy or make it again") from error
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
        try:
            with self._archive().open(name) as file:
                return file.read(MOST_BYTES + 1)
        except DataError:
            raise
        except Exception as error:  # damaged, encrypted, packed in an unknown way: each raises its own kind
            raise DataError(f"{self.path}/{name} cannot be read: {first_line(error)}") from error

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_opened": None}


# Filters of warnings belong to the process, not to a thread.
_OPENING = threading.Lock()


def _plain(picture: Image.Image) -> Image.Image:
    """As RGB, or as grey with 8 bits."""
    if picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8))
    if picture.mode in ("1", "L"):
        return picture.convert("L")
    if "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return picture.convert("RGB")


def decode(data: bytes, title: str, upright: bool = False) -> Image.Image:
    """The picture in ``data``, which may come from anywhere: its first frame, as RGB or grey.

    ``upright`` turns it as its camera says. Raises :class:`DataError` with ``title`` for what is no picture, is
    damaged, or has more than :data:`MOST_PIXELS` pixels.
    """
    if len(data) > MOST_BYTES:
        raise DataError(f"{title} is too large for a picture: more than {MOST_BYTES // 2**20} MiB")
    try:
        with _OPENING, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is below Pillow's
            picture: Image.Image = Image.open(io.BytesIO(data))
        width, height = picture.size
        if width * height <= MOST_PIXELS:
            picture.load()
            return _plain(ImageOps.exif_transpose(picture) if upright else picture)
    except Image.DecompressionBombError as error:
        raise DataError(f"{title} has too many pixels: at most {MOST_PIXELS:,} are read") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{title} is not a picture that Pillow can read: remove it, or save it as PNG") from error
    except Exception as error:  # decoders raise whatever a damaged file makes them raise
        raise DataError(f"{title} is a damaged picture ({first_line(error)}): remove it, or copy it again") from error
    raise DataError(f"{title} has too many pixels ({width:,} x {height:,}): at most {MOST_PIXELS:,} are read")


def read_picture(path: str | Path) -> Image.Image:
    """The picture in a file, upright. Raises :class:`DataError`.

    >>> read_picture("no/such.png")
    Traceback (most recent call last):
    kswap.data.images.DataError: there is no file no/such.png
    """
    place = Path(path)
    if not place.is_file():
        raise DataError(f"there is no file {place}")
    return decode(_Folder(place.parent).read(place.name), str(place), upright=True)


class ImageSet(Dataset[tuple[Any, int]]):
    """Pictures with the index of their class, from a folder or zip of ``SPLIT/CLASS/FILE`` or ``CLASS/FILE``.

    ``classes`` are the sorted names of the class folders of all splits, so that an index means the same in each
    of them. ``split`` has to be given where there are several. An item is ``(transform(picture), index)``, where
    the picture is a :class:`PIL.Image.Image` in RGB or grey; without ``transform`` it is the picture itself.
    Files that are no pictures by their suffix, and hidden ones, are passed over. Raises :class:`DataError`.

    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("cat", "ant"):
    ...         (Path(folder) / name).mkdir()
    ...         Image.new("RGB", (8, 8)).save(Path(folder) / name / "1.png")
    ...     images = ImageSet(folder)
    ...     images.classes, images.labels, images[0][0].size
    (('ant', 'cat'), (0, 1), (8, 8))
    """

    def __init__(
        self, path: str | Path, split: str | None = None, transform: Callable[[Image.Image], Any] | None = None
    ) -> None:
        self._store = _store(Path(path).expanduser())
        found = _pictures(self._store)
        self.splits = tuple(sorted({parts[0] for parts in found if len(parts) == 3}))
        self.split = _chosen(self._store.path, self.splits, split)
        self.classes = tuple(sorted({parts[-2] for parts in found}))
        index = {name: number for number, name in enumerate(self.classes)}
        chosen = [parts for parts in found if self.split is None or parts[0] == self.split]
        self.names = tuple(found[parts] for parts in chosen)
        self.labels = tuple(index[parts[-2]] for parts in chosen)
        self.transform = transform

    @property
    def path(self) -> Path:
        """The folder or zip file."""
        return self._store.path

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> tuple[Any, int]:
        picture = self.picture(number)
        return (picture if self.transform is None else self.transform(picture)), self.labels[number]

    def picture(self, number: int) -> Image.Image:
        """One picture as it is in its file, in RGB or grey. Raises :class:`DataError`."""
        name = self.names[number]
        return decode(self._store.read(name), f"{self._store.path}/{name}")


def _store(path: Path) -> _Store:
    if path.is_dir():
        return _Folder(path)
    if not path.exists():
        raise DataError(f"there is no folder or zip file {path}")
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise DataError(f"{path} is neither a folder nor a whole zip file: give one of {_LAYOUT}")
    return _Zip(path)


def _is_picture(name: str) -> bool:
    parts = PurePosixPath(name).parts
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and PurePosixPath(name).suffix.lower() in SUFFIXES


def _pictures(store: _Store) -> dict[tuple[str, ...], str]:
    """The names of all pictures in order, by their parts: (split, class, file) or (class, file)."""
    names = sorted(name for name in store.names() if _is_picture(name))
    if not names:
        raise DataError(f"{store.path} holds no pictures ({', '.join(sorted(SUFFIXES))})")
    by_parts = [PurePosixPath(name).parts for name in names]
    while len(set(map(len, by_parts))) == 1 and len(by_parts[0]) > 3 and len({parts[0] for parts in by_parts}) == 1:
        by_parts = [parts[1:] for parts in by_parts]  # a folder around all the others says nothing
    shallow, deep = min(by_parts, key=len), max(by_parts, key=len)
    if len(deep) == 1:
        raise DataError(f"{store.path} has pictures but no class folders: arrange them as {_LAYOUT}")
    if len(shallow) != len(deep):
        lengths = f"'{'/'.join(shallow)}' and '{'/'.join(deep)}' do not agree"
        raise DataError(f"the pictures of {store.path} must all lie as {_LAYOUT}: {lengths}")
    if len(deep) > 3:
        raise DataError(f"the pictures of {store.path} lie too deep ('{'/'.join(deep)}'): arrange them as {_LAYOUT}")
    return dict(zip(by_parts, names, strict=True))


def _chosen(path: Path, splits: Sequence[str], split: str | None) -> str | None:
    if split is None:
        if len(splits) > 1:
            raise DataError(f"{path} has the splits {', '.join(splits)}: choose one with --split")
        return splits[0] if splits else None
    if not splits:
        raise DataError(f"{path} has class folders and no splits: leave out --split")
    if split not in splits:
        raise DataError(f"{path} has no split '{split}': it has {', '.join(splits)}{nearest(split, splits)}")
    return split
