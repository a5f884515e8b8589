"""Pictures by number, wherever they come from: what all sets of pictures have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from PIL import Image
from torch.utils.data import Dataset


class PictureSet(Dataset[Any], ABC):
    """Pictures with numbers from 0; an item is ``transform(picture)``, or the picture itself.

    A subclass says where a picture is read from. It can be sent to the workers of a loader.

    Attributes:
        source: What messages and reports call the data: a path, or a name such as ``torchvision:CIFAR10``.
        split: The split of it that this is; ``None`` where it has no splits.
        names: One name per picture.
        transform: Called with each picture of an item.
    """

    source: str
    split: str | None
    names: tuple[str, ...]
    transform: Callable[[Image.Image], Any] | None = None

    @abstractmethod
    def picture(self, number: int) -> Image.Image:
        """One picture, in RGB or grey with 8 bits. Raises :class:`kswap.errors.DataError`."""

    @abstractmethod
    def version(self, number: int) -> str:
        """The name of a picture, and a text that is another one once the picture has changed."""

    @abstractmethod
    def labelled(self) -> LabelledPictures | None:
        """The same pictures in the same order with their labels; ``None`` where there are none."""

    @abstractmethod
    def with_split(self, split: str | None) -> LabelledPictures:
        """Another split of the same data, with labels. Raises :class:`kswap.errors.DataError`."""

    def title(self, number: int) -> str:
        """What messages call a picture."""
        return f"{self.source}/{self.names[number]}"

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> Any:
        picture = self.picture(number)
        return picture if self.transform is None else self.transform(picture)


class LabelledPictures(PictureSet):
    """Pictures with the index of their class; an item is ``(transform(picture), index)``.

    Attributes:
        classes: The names of the classes.
        labels: For each picture an index into ``classes``.
        splits: The splits that the data has; empty where it has none.
    """

    classes: tuple[str, ...]
    labels: tuple[int, ...]
    splits: tuple[str, ...]

    def labelled(self) -> LabelledPictures:
        return self

    def __getitem__(self, number: int) -> tuple[Any, int]:
        return super().__getitem__(number), self.labels[number]
