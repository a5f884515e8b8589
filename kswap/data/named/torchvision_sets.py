"""``torchvision:NAME``: the data sets of labelled pictures that torchvision downloads and checks."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from kswap.data.decoding import decode, read_bytes, rgb_or_grey
from kswap.data.picture_set import LabelledPictures
from kswap.data.splits import ChooseSplit, chosen_split
from kswap.errors import DataError, excerpt, first_line, nearest, wording
from kswap.locking import directory_lock


@dataclass(frozen=True)
class TorchvisionSet:
    """How one class of ``torchvision.datasets`` is asked for its splits, and where it keeps what is in them.

    Args:
        splits: The names of the splits, each with the arguments that choose it; empty where there is only one.
        labels: The attribute with the labels, or with (file, label).
        files: The attribute with the files, or with (file, label); ``None`` where all pixels are in ``data``.
        classes: Their names, where the class does not know them.
    """

    splits: Mapping[str, Mapping[str, Any]]
    labels: str
    files: str | None = None
    classes: tuple[str, ...] = ()


def _named(*names: str) -> dict[str, dict[str, Any]]:
    return {name: {"split": name} for name in names}


_HALVES = {"train": {"train": True}, "test": {"train": False}}
_PIXELS = TorchvisionSet(_HALVES, "targets")

TORCHVISION_SETS: dict[str, TorchvisionSet] = {
    "CIFAR10": _PIXELS,
    "CIFAR100": _PIXELS,
    "Country211": TorchvisionSet(_named("train", "valid", "test"), "imgs", "imgs"),
    "DTD": TorchvisionSet(_named("train", "val", "test"), "_labels", "_image_files"),
    "EuroSAT": TorchvisionSet({}, "imgs", "imgs"),
    "FashionMNIST": _PIXELS,
    "FGVCAircraft": TorchvisionSet(_named("train", "val", "trainval", "test"), "_labels", "_image_files"),
    "Flowers102": TorchvisionSet(_named("train", "val", "test"), "_labels", "_image_files"),
    "Food101": TorchvisionSet(_named("train", "test"), "_labels", "_image_files"),
    "GTSRB": TorchvisionSet(_named("train", "test"), "_samples", "_samples", tuple(map(str, range(43)))),
    "Imagenette": TorchvisionSet(_named("train", "val"), "_samples", "_samples"),
    "KMNIST": _PIXELS,
    "MNIST": _PIXELS,
    "OxfordIIITPet": TorchvisionSet(_named("trainval", "test"), "_labels", "_images"),
    "STL10": TorchvisionSet(_named("train", "test"), "labels"),
    "SVHN": TorchvisionSet(_named("train", "test", "extra"), "labels", classes=tuple(map(str, range(10)))),
}


class TorchvisionImages(LabelledPictures):
    """The pictures of a ``dataset`` that torchvision has made; what is in files is read by kswap's own decoder.

    Args:
        name: A key of :data:`TORCHVISION_SETS`.
        split: The split that ``dataset`` is.
        dataset: An instance of that class.
        data_dir: Where it was downloaded to.
    """

    def __init__(self, name: str, split: str | None, dataset: Any, data_dir: Path) -> None:
        known = TORCHVISION_SETS[name]
        self._name, self._dataset, self._data_dir = name, dataset, data_dir
        self.source, self.split, self.splits = f"torchvision:{name}", split, tuple(known.splits)
        entries = getattr(dataset, known.labels)
        self.labels = tuple(int(entry[1] if isinstance(entry, tuple) else entry) for entry in entries)
        classes = known.classes or dataset.classes
        self.classes = tuple(str(entry[0] if isinstance(entry, tuple) else entry) for entry in classes)
        self._files: tuple[Path, ...] | None = None
        if known.files is not None:
            listed = getattr(dataset, known.files)
            self._files = tuple(Path(entry[0] if isinstance(entry, tuple) else entry) for entry in listed)
        inner = "" if split is None else f"{split}/"
        self.names = tuple(
            f"{inner}{number if self._files is None else self._files[number].name}"
            for number in range(len(self.labels))
        )

    def picture(self, number: int) -> Image.Image:
        if self._files is not None:
            return decode(read_bytes(self._files[number]), self.title(number))
        return rgb_or_grey(self._dataset[number][0])

    def version(self, number: int) -> str:
        if self._files is None:
            content = f"{zlib.crc32(np.asarray(self._dataset.data[number]).tobytes()):08x}"
        else:
            try:
                content = str(self._files[number].stat().st_size)
            except OSError as error:
                raise DataError(f"{self._files[number]} cannot be read: {error.strerror}") from error
        return f"{self.source} {self.names[number]} {self.labels[number]} {content}"

    def with_split(self, split: str | None) -> LabelledPictures:
        return torchvision_images(self._name, partial(chosen_split, split=split), self._data_dir)


def default_data_dir() -> Path:
    """Where downloads are kept: ``datasets`` beside the models of torch.hub (``TORCH_HOME`` moves both)."""
    return Path(torch.hub.get_dir()).parent / "datasets"


def torchvision_images(name: str, choose: ChooseSplit, data_dir: Path | None) -> LabelledPictures:
    """A data set of torchvision, which is downloaded where it is not there yet.

    Args:
        name: One of :data:`TORCHVISION_SETS`, in any case.
        choose: Which split of those that there are.
        data_dir: Where torchvision finds it or puts it; without it, :func:`default_data_dir`.

    Raises:
        DataError: There is no such set, or it cannot be downloaded.
    """
    known = {key.lower(): key for key in TORCHVISION_SETS}
    key = known.get(name.lower())
    if key is None:
        hint = nearest(name.lower(), known)
        for lower, proper in known.items():
            hint = hint.replace(f" {lower}", f" {proper}")
        raise DataError(
            f"torchvision has no data set '{excerpt(name, 40)}' that kswap knows: it knows "
            f"{', '.join(TORCHVISION_SETS)}{hint}"
        )
    split = choose(f"torchvision:{key}", tuple(TORCHVISION_SETS[key].splits))
    place = default_data_dir() if data_dir is None else data_dir
    return TorchvisionImages(key, split, _made(key, split, place), place)


def _made(name: str, split: str | None, place: Path) -> Any:
    """The data set of torchvision, from what is there or else from the network."""
    from torchvision import datasets

    arguments = {} if split is None else TORCHVISION_SETS[name].splits[split]
    make = getattr(datasets, name)
    try:
        return make(str(place), **arguments, download=False)
    except ModuleNotFoundError as error:
        raise _missing(name, error) from error
    except (RuntimeError, OSError):
        pass  # it is not there, or not whole
    try:
        place.mkdir(parents=True, exist_ok=True)
        with directory_lock(place, wait=True):  # of several processes that start together, one downloads
            return make(str(place), **arguments, download=True)
    except ModuleNotFoundError as error:
        raise _missing(name, error) from error
    except Exception as error:  # whatever a network and a half-written archive make torchvision raise
        elsewhere = wording("name its folder with data_dir=", "name its folder with --data-dir")
        raise DataError(
            f"torchvision:{name} is not in {place} and cannot be downloaded ({first_line(error)}): connect to the "
            f"network, or {elsewhere}"
        ) from error


def _missing(name: str, error: ModuleNotFoundError) -> DataError:
    return DataError(f"torchvision:{name} needs {error.name}: pip install {error.name}")
