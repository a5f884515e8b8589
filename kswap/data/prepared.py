"""Pictures as tensors, kept in memory where they fit: decoding takes longer than a small model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from kswap.data.picture_set import PictureSet
from kswap.data.preprocessing import Preprocessing
from kswap.errors import DataError

# What is kept of decoded pictures, unless it is said otherwise.
MOST_BYTES = 2 * 2**30


class KeptTensors:
    """Tensors by number, each made once where they fit into ``most_bytes``, and otherwise each time.

    >>> kept = KeptTensors(lambda number: torch.full((4,), number), most_bytes=40)
    >>> kept[7] is kept[7], kept[8] is kept[8]
    (True, False)
    """

    def __init__(self, make: Callable[[int], Tensor], most_bytes: int = MOST_BYTES) -> None:
        self._make = make
        self._left = most_bytes
        self._kept: dict[int, Tensor] = {}

    def __getitem__(self, number: int) -> Tensor:
        if number in self._kept:
            return self._kept[number]
        made = self._make(number)
        if made.nbytes <= self._left:
            self._left -= made.nbytes
            self._kept[number] = made
        return made


class PreparedPictures:
    """The inputs of a model for the pictures of a set, by their numbers in it.

    Args:
        images: The pictures, with labels or without.
        preprocessing: How they become inputs.
        most_bytes: How much of them is kept in memory, as uint8.
    """

    def __init__(self, images: PictureSet, preprocessing: Preprocessing, most_bytes: int = MOST_BYTES) -> None:
        self.images = images
        self.preprocessing = preprocessing
        self._kept = KeptTensors(self.made, most_bytes)

    def made(self, number: int) -> Tensor:
        """One picture, made again and not kept: uint8, ``(channels, height, width)``. Raises :class:`DataError`."""
        try:
            return self.preprocessing.pixels(self.images.picture(number))
        except DataError as error:
            title = self.images.title(number)
            raise error if title in str(error) else DataError(f"{title}: {error}") from error

    def __len__(self) -> int:
        return len(self.images)

    def pixels(self, numbers: Sequence[int]) -> Tensor:
        """uint8, ``(N, channels, height, width)``. Raises :class:`DataError` for a picture that cannot be read."""
        return torch.stack([self._kept[number] for number in numbers])

    def inputs(self, numbers: Sequence[int]) -> Tensor:
        """float32, ``(N, channels, height, width)``. Raises :class:`DataError` as :meth:`pixels` does."""
        return self.preprocessing.normalized(self.pixels(numbers))


def fingerprint(images: PictureSet) -> str:
    """SHA-256 over the versions of all pictures: names, sizes and checksums (in a folder: times) of their files."""
    made = hashlib.sha256()
    for number in range(len(images)):
        made.update(images.version(number).encode() + b"\n")
    return made.hexdigest()
