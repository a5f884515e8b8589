"""A part of the pictures held out from training, with the same share of each class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image

from kswap.data.picture_set import LabelledPictures
from kswap.errors import DataError


class ChosenImages(LabelledPictures):
    """The pictures ``numbers`` of a labelled set.

    Args:
        images: The set.
        numbers: Which of its pictures, in this order.
        split: What messages and reports call the choice.
    """

    def __init__(self, images: LabelledPictures, numbers: Sequence[int], split: str) -> None:
        self._images = images
        self.numbers = tuple(numbers)
        self.source, self.split, self.splits = images.source, split, images.splits
        self.classes = images.classes
        self.names = tuple(images.names[number] for number in self.numbers)
        self.labels = tuple(images.labels[number] for number in self.numbers)

    def picture(self, number: int) -> Image.Image:
        return self._images.picture(self.numbers[number])

    def version(self, number: int) -> str:
        return self._images.version(self.numbers[number])

    def title(self, number: int) -> str:
        return self._images.title(self.numbers[number])

    def with_split(self, split: str | None) -> LabelledPictures:
        return self._images.with_split(split)


def hold_out(images: LabelledPictures, share: float, seed: int = 0) -> tuple[ChosenImages, ChosenImages]:
    """Two parts of a set: the pictures to train on, and a share of each class held out for validation.

    The papers hold out 10% of the training pictures. Both parts keep the order of the set, and are the same for the
    same set, share and seed.

    Args:
        images: The set.
        share: How much of each class is held out, above 0 and below 1; rounded to whole pictures.
        seed: Which pictures.

    Raises:
        DataError: The share is out of its range, or a class has too few pictures for one in both parts.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from kswap.data.images import ImageSet
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("ant", "cat"):
    ...         (Path(folder) / name).mkdir()
    ...         for number in range(10):
    ...             Image.new("RGB", (8, 8)).save(Path(folder) / name / f"{number}.png")
    ...     train, validation = hold_out(ImageSet(folder), 0.1)
    ...     len(train), validation.labels
    (18, (0, 1))
    """
    if not 0 < share < 1:
        raise DataError(f"the share that is held out must be above 0 and below 1, not {share}")
    by_class: dict[int, list[int]] = {}
    for number, label in enumerate(images.labels):
        by_class.setdefault(label, []).append(number)
    generator = torch.Generator().manual_seed(seed)
    held: set[int] = set()
    for label, numbers in sorted(by_class.items()):
        count = round(share * len(numbers))
        if not 0 < count < len(numbers):
            raise DataError(
                f"{share:g} of the {len(numbers)} pictures of the class '{images.classes[label]}' of {images.source} "
                f"is {'none' if count == 0 else 'all'} of them: choose another share"
            )
        order = torch.randperm(len(numbers), generator=generator).tolist()
        held.update(numbers[place] for place in order[:count])
    kept = [number for number in range(len(images)) if number not in held]
    whole = images.split or "all"
    return (
        ChosenImages(images, kept, f"{whole} but {share:.3g} (seed {seed})"),
        ChosenImages(images, sorted(held), f"{share:.3g} of {whole} (seed {seed})"),
    )
