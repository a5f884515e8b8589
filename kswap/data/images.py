"""Pictures in class folders, or in a zip of them, read in place: nothing is ever unpacked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from kswap.data.decoding import SUFFIXES
from kswap.data.picture_set import LabelledPictures
from kswap.data.splits import chosen_split
from kswap.data.stored import StoredPictures
from kswap.data.stores import LAYOUT, Store, open_store
from kswap.errors import DataError


class ImageSet(StoredPictures, LabelledPictures):
    """Pictures with the index of their class, from a folder or zip of ``SPLIT/CLASS/FILE`` or ``CLASS/FILE``.

    An item is ``(transform(picture), index)``, where the picture is a :class:`PIL.Image.Image` in RGB or grey.
    ``classes`` are the sorted names of the class folders of all splits, so that an index means the same in each of
    them. Hidden files, and those without the suffix of a picture, are ignored.

    Args:
        path: The folder or zip file.
        split: Which split; required where there are several.
        transform: Called with each picture. Without it an item holds the picture itself.

    Raises:
        DataError: There is no such folder or zip, or its pictures are not arranged in class folders.

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
        super().__init__(open_store(Path(path).expanduser()))
        found = _pictures(self._store)
        self.splits = tuple(sorted({parts[0] for parts in found if len(parts) == 3}))
        self.split = chosen_split(self.source, self.splits, split)
        self.classes = tuple(sorted({parts[-2] for parts in found}))
        index = {name: number for number, name in enumerate(self.classes)}
        chosen = [parts for parts in found if self.split is None or parts[0] == self.split]
        self.names = tuple(found[parts] for parts in chosen)
        self.labels = tuple(index[parts[-2]] for parts in chosen)
        self.transform = transform

    def with_split(self, split: str | None) -> ImageSet:
        return ImageSet(self.path, split)


def is_picture(name: str) -> bool:
    """Whether a file is taken for a picture: by its suffix, and not hidden.

    >>> is_picture("cat/1.JPG"), is_picture("cat/.1.jpg"), is_picture("cat/notes.txt")
    (True, False, False)
    """
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return not hidden and path.suffix.lower() in SUFFIXES


def _pictures(store: Store) -> dict[tuple[str, ...], str]:
    """The names of all pictures in order, by their parts: (split, class, file) or (class, file)."""
    names = sorted(name for name in store.names() if is_picture(name))
    if not names:
        raise DataError(f"{store.path} has no pictures ({', '.join(sorted(SUFFIXES))})")
    by_parts = [PurePosixPath(name).parts for name in names]
    while len(set(map(len, by_parts))) == 1 and len(by_parts[0]) > 3 and len({parts[0] for parts in by_parts}) == 1:
        by_parts = [parts[1:] for parts in by_parts]  # a folder around all the others means nothing
    shallow, deep = min(by_parts, key=len), max(by_parts, key=len)
    if len(deep) == 1:
        raise DataError(f"{store.path} has pictures but no class folders: arrange them as {LAYOUT}")
    if len(shallow) != len(deep):
        lengths = f"'{'/'.join(shallow)}' and '{'/'.join(deep)}' do not agree"
        raise DataError(f"the pictures of {store.path} must all lie as {LAYOUT}: {lengths}")
    if len(deep) > 3:
        raise DataError(f"the pictures of {store.path} lie too deep ('{'/'.join(deep)}'): arrange them as {LAYOUT}")
    return dict(zip(by_parts, names, strict=True))
