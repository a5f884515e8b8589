"""Pictures in any arrangement, without labels: what calibration and distillation learn from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from kswap.data.decoding import SUFFIXES
from kswap.data.images import ImageSet, is_picture
from kswap.data.splits import TRAIN
from kswap.data.stored import StoredPictures
from kswap.data.stores import open_store
from kswap.errors import DataError, excerpt, nearest


class UnlabelledImageSet(StoredPictures):
    """All pictures below a folder or in a zip, in the order of their names; labels and class folders mean nothing.

    An item is ``transform(picture)``, where the picture is a :class:`PIL.Image.Image` in RGB or grey. Hidden files,
    and those without the suffix of a picture, are ignored.

    Args:
        path: The folder or zip file.
        split: The folder at the top whose pictures are taken. Without it ``train``, where there is such a folder, so
            that the pictures that accuracy is measured on stay unseen; and otherwise all pictures.
        transform: Called with each picture. Without it an item is the picture itself.

    Raises:
        DataError: There is no such folder or zip, it has no such split, or no pictures.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("1.png", "2.png"):
    ...         Image.new("RGB", (8, 8)).save(Path(folder) / name)
    ...     images = UnlabelledImageSet(folder)
    ...     len(images), images.names, images[0].size
    (2, ('1.png', '2.png'), (8, 8))
    """

    def __init__(
        self, path: str | Path, split: str | None = None, transform: Callable[[Image.Image], Any] | None = None
    ) -> None:
        super().__init__(open_store(Path(path).expanduser(), "pictures"))
        names = sorted(name for name in self._store.names() if is_picture(name))
        if not names:
            raise DataError(f"{self.path} has no pictures ({', '.join(sorted(SUFFIXES))})")
        around = _around(names)
        tops = {name: PurePosixPath(name).parts[:-1][: around + 1] for name in names}
        folders = sorted({part for parts in tops.values() for part in parts})
        if split is not None and split not in folders:
            held = f"it has {excerpt(', '.join(folders))}" if folders else "its pictures lie in no folders"
            raise DataError(f"{self.path} has no folder '{excerpt(split)}': {held}{nearest(split, folders)}")
        self.split = split if split is not None else (TRAIN if TRAIN in folders else None)
        self.names = tuple(name for name in names if self.split is None or self.split in tops[name])
        self.transform = transform

    def labelled(self) -> ImageSet | None:
        """The same pictures with labels, where they lie in class folders."""
        try:
            found = ImageSet(self.path, self.split)
        except DataError:
            return None
        return found if found.names == self.names and len(found.classes) > 1 else None

    def with_split(self, split: str | None) -> ImageSet:
        return ImageSet(self.path, split)


def _around(names: list[str]) -> int:
    """How many folders are around all pictures.

    >>> _around(["a/b/train/1.png", "a/b/val/1.png"]), _around(["train/1.png", "train/2.png"])
    (2, 1)
    """
    folders = [PurePosixPath(name).parts[:-1] for name in names]
    first, last = min(folders), max(folders)  # all others start with what these two have in common
    differing = (number for number, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return next(differing, min(len(first), len(last)))
