"""``hf-datasets:OWNER/NAME``: data sets of the Hugging Face Hub, through the package ``datasets``.

Only data is read: from version 4 on, the package runs no code of a data set's author, and older ones are refused.
Pictures are decoded by kswap, within its limits.
"""

from __future__ import annotations

import importlib
import re
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from kswap.data.decoding import decode, read_bytes
from kswap.data.picture_set import LabelledPictures
from kswap.data.splits import ChooseSplit, chosen_split
from kswap.errors import DataError, excerpt, first_line

_LAYOUT = "hf-datasets:OWNER/NAME, with :CONFIGURATION and #LABEL_COLUMN behind it where there are several"
_NAME = re.compile(r"(?P<name>[\w.-]+(/[\w.-]+)?)(:(?P<config>[\w.+-]+))?(#(?P<labels>\w+))?")


class HuggingFaceImages(LabelledPictures):
    """The pictures of one split.

    Args:
        spec: How the data set was asked for, without ``hf-datasets:``.
        found: All its splits, as ``datasets.load_dataset`` returns them.
        split: Which of them.
        caches: The folders that files of pictures may lie in.
        data_dir: Where it was downloaded to; ``None`` for the package's own cache.
    """

    def __init__(self, spec: str, found: Any, split: str, caches: tuple[Path, ...], data_dir: Path | None) -> None:
        self._spec, self._caches, self._data_dir = spec, caches, data_dir
        self.source, self.split, self.splits = f"hf-datasets:{spec}", split, tuple(found)
        rows = found[split]
        pictures, labels = _columns(self.source, rows.features, _parsed(spec)["labels"])
        self.classes = tuple(rows.features[labels].names)
        self.labels = tuple(rows[labels])
        if any(not isinstance(label, int) or not 0 <= label < len(self.classes) for label in self.labels):
            raise DataError(f"the split {split} of {self.source} has pictures without a class: choose another split")
        self.names = tuple(f"{split}/{number}" for number in range(len(self.labels)))
        self._column = pictures
        self._rows = rows.select_columns([pictures]).cast_column(pictures, type(rows.features[pictures])(decode=False))
        self._content = _content_of(rows)

    def picture(self, number: int) -> Image.Image:
        entry = self._rows[number][self._column] or {}
        data, path = entry.get("bytes"), entry.get("path")
        if data is None and path is not None:
            place = Path(path).resolve()
            if not any(place.is_relative_to(cache) for cache in self._caches):
                raise DataError(f"{self.title(number)} is the file {excerpt(path)}, which is none of this data set's")
            data = read_bytes(place)
        if data is None:
            raise DataError(f"{self.title(number)} has no picture: remove the row, or choose another data set")
        return decode(data, self.title(number))

    def version(self, number: int) -> str:
        return f"{self.source} {self.names[number]} {self.labels[number]} {self._content}"

    def with_split(self, split: str | None) -> LabelledPictures:
        return hugging_face_images(self._spec, partial(chosen_split, split=split), self._data_dir)


def hugging_face_images(spec: str, choose: ChooseSplit, data_dir: Path | None) -> LabelledPictures:
    """A data set of the Hugging Face Hub, which is downloaded where it is not there yet.

    Args:
        spec: ``OWNER/NAME``, or ``OWNER/NAME:CONFIGURATION#LABEL_COLUMN``.
        choose: Which split of those that there are.
        data_dir: Where it is kept, instead of the package's own cache.

    Raises:
        DataError: The package is missing, there is no such data set, it cannot be downloaded, or it has no pictures
            with labels.
    """
    asked = _parsed(spec)
    package = _package()
    source = f"hf-datasets:{spec}"
    try:
        found = package.load_dataset(
            asked["name"], asked["config"], cache_dir=None if data_dir is None else str(data_dir)
        )
    except Exception as error:  # of the network, of the Hub, and of whatever the data set's files are
        raise DataError(
            f"{source} cannot be loaded ({first_line(error)}): check its name, and whether huggingface.co is reached"
        ) from error
    split = choose(source, tuple(found))
    if split is None:
        raise DataError(f"{source} has no splits: choose another data set")
    return HuggingFaceImages(spec, found, split, _caches(package, data_dir), data_dir)


def _parsed(spec: str) -> dict[str, str | None]:
    """The parts of a name: ``name``, ``config`` and ``labels``."""
    found = _NAME.fullmatch(spec)
    if found is None:
        raise DataError(f"'{excerpt(spec)}' names no data set of Hugging Face: write {_LAYOUT}")
    return found.groupdict()


def _package() -> Any:
    how = "pip install 'kswap[hf]'"
    try:
        package = importlib.import_module("datasets")
    except ImportError as error:
        raise DataError(f"data sets of Hugging Face need the package datasets: {how}") from error
    version = str(getattr(package, "__version__", "0"))  # a folder of this name is imported as an empty package
    if int(version.partition(".")[0]) < 4:
        raise DataError(f"data sets of Hugging Face need version 4 or newer of the package datasets: {how}")
    return package


def _columns(source: str, features: Any, labels: str | None) -> tuple[str, str]:
    """The column of the pictures, and that of the labels."""
    pictures = [name for name, feature in features.items() if type(feature).__name__ == "Image"]
    classes = [name for name, feature in features.items() if type(feature).__name__ == "ClassLabel"]
    if not pictures or not classes:
        held = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())
        raise DataError(
            f"{source} has no column of pictures and one of class labels: it has {excerpt(held, 200)}; choose another"
        )
    if labels is not None and labels not in classes:
        raise DataError(f"{source} has no labels in a column '{labels}': it has {excerpt(', '.join(classes), 200)}")
    if labels is None and len(classes) > 1:
        held = excerpt(", ".join(classes), 200)
        raise DataError(f"{source} has labels in the columns {held}: choose one by {source}#{classes[0]}")
    return pictures[0], labels or classes[0]


def _content_of(rows: Any) -> str:
    """A text that changes with the files that the rows came from."""
    info = rows.info
    sums = ", ".join(f"{url} {value}" for url, value in sorted((info.download_checksums or {}).items()))
    return f"{info.config_name} {info.version} {info.size_in_bytes} {sums}"


def _caches(package: Any, data_dir: Path | None) -> tuple[Path, ...]:
    """Where the package, and the one that it downloads with, keep files."""
    hub = importlib.import_module("huggingface_hub.constants")
    places = [package.config.HF_DATASETS_CACHE, hub.HF_HUB_CACHE, data_dir]
    return tuple(Path(place).expanduser().resolve() for place in places if place is not None)
