"""Pictures that are files of a folder or of a zip."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from kswap.data.decoding import decode
from kswap.data.picture_set import PictureSet
from kswap.data.stores import Store


class StoredPictures(PictureSet):
    """Pictures in a folder or zip, which is read in place; ``names`` are those of the files in it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def path(self) -> Path:
        """The folder or zip file."""
        return self._store.path

    @property
    def source(self) -> str:  # type: ignore[override]
        """The folder or zip file, for messages and reports."""
        return str(self.path)

    def picture(self, number: int) -> Image.Image:
        return decode(self._store.read(self.names[number]), self.title(number))

    def version(self, number: int) -> str:
        return f"{self.names[number]} {self._store.version(self.names[number])}"
