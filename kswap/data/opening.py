"""From what names the data to its pictures: paths of folders and zips, and names of public data sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from kswap.data.images import ImageSet
from kswap.data.joined import JoinedImages, JoinedPictures
from kswap.data.named import NAMED
from kswap.data.picture_set import LabelledPictures, PictureSet
from kswap.data.splits import chosen_split, training_split
from kswap.data.unlabelled import UnlabelledImageSet
from kswap.errors import DataError, excerpt, nearest

# A folder or zip, `torchvision:CIFAR10`, `hf-datasets:owner/name`; several that form one split; or an open set.
Data = str | Path | PictureSet | Sequence[str | Path]


def image_set(data: Data, split: str | None = None, data_dir: str | Path | None = None) -> LabelledPictures:
    """Pictures with labels, from any place that kswap knows.

    Args:
        data: A folder or zip of ``SPLIT/CLASS/FILE`` or ``CLASS/FILE``; ``"torchvision:CIFAR10"`` and other sets that
            torchvision downloads; ``"hf-datasets:OWNER/NAME"``, through the package ``datasets``. A sequence of these
            is one set: all must have the same classes and the split. A set that is open already is returned.
        split: Which split; required where there are several.
        data_dir: Where what is downloaded is kept, instead of torch's cache.

    Raises:
        DataError: There is no such data, it cannot be downloaded, or it has no such split.

    >>> image_set("torchvision:CIFAR11", "test")
    Traceback (most recent call last):
    kswap.errors.DataError: torchvision has no data set 'CIFAR11' that kswap knows: ...; did you mean CIFAR10, CIFAR100?
    """
    if isinstance(data, PictureSet):
        found = data.labelled()
        if found is None:
            raise DataError(f"the pictures of {data.source} have no labels: arrange them in class folders")
        return found
    parts = [_opened(part, split, data_dir, labels=True) for part in _parts(data)]
    labelled = [part for part in parts if isinstance(part, LabelledPictures)]
    return labelled[0] if len(labelled) == 1 else JoinedImages(labelled)


def picture_set(data: Data, split: str | None = None, data_dir: str | Path | None = None) -> PictureSet:
    """Pictures to learn from without labels: folders and zips in any arrangement, and all that :func:`image_set` takes.

    Without a ``split`` it is the one to train on (``train``) where there are several.

    Raises:
        DataError: As :func:`image_set`.
    """
    if isinstance(data, PictureSet):
        return data
    parts = [_opened(part, split, data_dir, labels=False) for part in _parts(data)]
    return parts[0] if len(parts) == 1 else JoinedPictures(parts)


def _parts(data: str | Path | Sequence[str | Path]) -> list[str]:
    parts = [data] if isinstance(data, str | Path) else list(data)
    if not parts or not all(isinstance(part, str | Path) for part in parts):
        raise DataError(f"data must be a path, a name or several of them, not {excerpt(repr(data))}")
    return [str(part) for part in parts]


def _opened(part: str, split: str | None, data_dir: str | Path | None, labels: bool) -> PictureSet:
    kind, colon, name = part.partition(":")
    if colon and kind in NAMED:
        choose = partial(chosen_split if labels else training_split, split=split)
        return NAMED[kind](name, choose, None if data_dir is None else Path(data_dir).expanduser())
    if not Path(part).expanduser().exists() and (hint := _hint(part, kind)):
        raise DataError(f"there is no folder or zip file {excerpt(part)}{hint}")
    opened: Callable[[str, str | None], PictureSet] = ImageSet if labels else UnlabelledImageSet
    return opened(part, split)


def _hint(part: str, kind: str) -> str:
    """What may have been meant by a path that is not there."""
    if kind != part:
        return nearest(kind, NAMED)
    first, slash, rest = part.partition("/")
    return f"; the data set is written {first}:{excerpt(rest)}" if slash and first in NAMED else ""
