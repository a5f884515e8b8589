"""Several sets of pictures as one: a data set that comes as several zips, for one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, chain

from PIL import Image

from kswap.data.picture_set import LabelledPictures, PictureSet
from kswap.errors import DataError, excerpt


class JoinedPictures(PictureSet):
    """The pictures of ``parts``, one part after the other. The split is that of the parts where all have the same.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from kswap.data.unlabelled import UnlabelledImageSet
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for part in ("a", "b"):
    ...         (Path(folder) / part).mkdir()
    ...         Image.new("RGB", (8, 8)).save(Path(folder) / part / "1.png")
    ...     joined = JoinedPictures([UnlabelledImageSet(Path(folder) / part) for part in ("a", "b")])
    ...     len(joined), joined.names
    (2, ('1.png', '1.png'))
    """

    def __init__(self, parts: Sequence[PictureSet]) -> None:
        self._parts = tuple(parts)
        self._ends = tuple(accumulate(len(part) for part in parts))
        self.source = ", ".join(part.source for part in parts)
        found = {part.split for part in parts}
        self.split = found.pop() if len(found) == 1 else None
        self.names = tuple(chain.from_iterable(part.names for part in parts))

    def _place(self, number: int) -> tuple[PictureSet, int]:
        """The part that holds a picture, and the number that it has there."""
        part = bisect_right(self._ends, range(len(self))[number])
        return self._parts[part], range(len(self))[number] - (self._ends[part - 1] if part else 0)

    def picture(self, number: int) -> Image.Image:
        part, inner = self._place(number)
        return part.picture(inner)

    def version(self, number: int) -> str:
        part, inner = self._place(number)
        return part.version(inner)

    def title(self, number: int) -> str:
        part, inner = self._place(number)
        return part.title(inner)

    def labelled(self) -> LabelledPictures | None:
        found = [part.labelled() for part in self._parts]
        try:
            return JoinedImages([part for part in found if part is not None]) if all(found) else None
        except DataError:  # their classes differ
            return None

    def with_split(self, split: str | None) -> JoinedImages:
        return JoinedImages([part.with_split(split) for part in self._parts])


class JoinedImages(JoinedPictures, LabelledPictures):
    """As :class:`JoinedPictures`, with labels. Raises :class:`DataError` where the parts have different classes."""

    def __init__(self, parts: Sequence[LabelledPictures]) -> None:
        super().__init__(parts)
        first = parts[0]
        for other in parts[1:]:
            if other.classes != first.classes:
                name = min(set(other.classes) ^ set(first.classes), default="their order")
                raise DataError(
                    f"{first.source} and {other.source} are no parts of one data set, since they have different "
                    f"classes: '{excerpt(name, 40)}' is in one of them only"
                )
            if other.split != first.split:
                raise DataError(
                    f"{first.source} has the split {first.split} and {other.source} the split {other.split}: pass "
                    f"together only what forms one split"
                )
        self.classes = first.classes
        self.labels = tuple(chain.from_iterable(part.labels for part in parts))
        self.splits = tuple(name for name in first.splits if all(name in part.splits for part in parts))

    def labelled(self) -> LabelledPictures:
        return self
