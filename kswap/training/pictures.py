"""Training pictures as tensors: all of them in memory where they fit, and otherwise read again each time."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from kswap.data.picture_set import LabelledPictures
from kswap.data.prepared import MOST_BYTES, PreparedPictures
from kswap.data.preprocessing import Preprocessing
from kswap.errors import DataError
from kswap.graph.random_state import preserved_random_state
from kswap.isolation import isolated_children
from kswap.progress import progress_bar


class TensorPictures:
    """The pictures of a set as uint8, by number.

    All of them are kept in one tensor on ``device`` where they fit into ``most_bytes``, and otherwise as many as fit
    in memory. Small pictures that the preprocessing only repeats the pixels of are kept as they are.

    Args:
        images: The pictures.
        preprocessing: How they become inputs.
        device: Where they are needed.
        most_bytes: How much is kept.
        shown: Whether to show a bar while they are read.
    """

    def __init__(
        self,
        images: LabelledPictures,
        preprocessing: Preprocessing,
        device: torch.device,
        most_bytes: int = MOST_BYTES,
        shown: bool = True,
    ) -> None:
        self.images = images
        self.preprocessing = preprocessing
        self.labels = torch.tensor(images.labels, device=device)
        self._device = device
        self._prepared = PreparedPictures(images, preprocessing, most_bytes)
        self._repeated, self._all = 1, None
        for times in dict.fromkeys((_repetition(images, preprocessing), 1)):
            channels, height, width = preprocessing.input_size
            shape = (len(images), channels, height // times, width // times)
            found = self._read(shape, times, shown) if math.prod(shape) <= most_bytes else None
            if found is not None:
                self._repeated, self._all = times, found.to(device)
                break

    def __len__(self) -> int:
        return len(self.images)

    def _read(self, shape: tuple[int, ...], times: int, shown: bool) -> Tensor | None:
        """All pictures, each pixel once where the input repeats it; ``None`` where a picture has another size."""
        from torchvision.transforms.functional import pil_to_tensor

        kept = torch.empty(shape, dtype=torch.uint8)
        with progress_bar("reading pictures", len(self), shown=shown) as bar:
            for number in range(len(self)):
                if times == 1:
                    kept[number] = self._prepared.made(number)
                elif (picture := self.images.picture(number)).size == (shape[3], shape[2]):
                    kept[number] = pil_to_tensor(picture.convert(self.preprocessing.mode))
                else:
                    return None
                if number % 100 == 99:
                    bar.advance(100)
        return kept

    def pixels(self, numbers: Tensor) -> Tensor:
        """uint8, ``(N, channels, height, width)``, on the device. Raises :class:`kswap.errors.DataError`."""
        if self._all is None:
            return self._prepared.pixels(numbers.tolist()).to(self._device)
        found = self._all[numbers.to(self._device)]
        if self._repeated > 1:
            found = found.repeat_interleave(self._repeated, -1).repeat_interleave(self._repeated, -2)
        return found


def fits_in_memory(images: LabelledPictures, preprocessing: Preprocessing, most_bytes: int = MOST_BYTES) -> bool:
    """Whether :class:`TensorPictures` keeps all of them."""
    repeated = _repetition(images, preprocessing)
    return len(images) * math.prod(preprocessing.input_size) <= most_bytes * repeated**2


def _repetition(images: LabelledPictures, preprocessing: Preprocessing) -> int:
    """How often the preprocessing repeats each pixel of the first picture, where it does nothing else; otherwise 1."""
    if preprocessing.resize != "nearest" or preprocessing.crop < 1:
        return 1
    _, height, width = preprocessing.input_size
    wide, high = images.picture(0).size
    times = width // wide
    return times if times > 1 and (wide * times, high * times) == (width, height) else 1


class LoadedPictures(Dataset[Any]):
    """Inputs and labels by their place in the order of a run, each with random numbers of its own.

    What is drawn for an item depends on ``seed`` and its place alone, not on the worker that reads it. An error is an
    item like others: raised in a worker, its message would arrive as a traceback.
    """

    def __init__(
        self, images: LabelledPictures, order: Sequence[int], transform: Callable[[Any], Tensor], mode: str, seed: int
    ) -> None:
        self._images, self._order, self._transform, self._mode, self._seed = images, order, transform, mode, seed

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, place: int) -> tuple[Tensor, int] | DataError:
        number = int(self._order[place])
        try:
            picture = self._images.picture(number).convert(self._mode)
            with all_random_states(hash((self._seed, place)) % 2**63):
                return self._transform(picture), self._images.labels[number]
        except DataError as error:
            return error


def loaded_batches(
    items: LoadedPictures, batches: Sequence[list[int]], workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs ``(N, C, H, W)`` and labels ``(N)`` of batches of places. Raises :class:`kswap.errors.DataError`."""
    loader = DataLoader(
        items,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_collate,
        # Without one of its own, a loader draws a seed from torch's global generator.
        generator=torch.Generator(),
    )
    with isolated_children():  # starts the workers
        found_batches = iter(loader)
    for found in found_batches:
        if isinstance(found, DataError):
            raise found
        yield found[0], found[1]


class ReadAhead:
    """Batches of pictures that workers read and augment ahead; started anew where a run continues."""

    def __init__(self, items: LoadedPictures, shape: torch.Size, rows: slice, workers: int) -> None:
        self._items, self._rows, self._workers = items, rows, workers
        self._steps, self._batch = shape
        self._next: tuple[int, Iterator[tuple[Tensor, Tensor]]] | None = None

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        if self._next is None or self._next[0] != step:
            batch, rows = self._batch, self._rows
            places = [list(range(batch * one, batch * (one + 1))[rows]) for one in range(step, self._steps)]
            self._next = (step, loaded_batches(self._items, places, self._workers))
        batches = self._next[1]
        self._next = (step + 1, batches)
        return next(batches)


def _collate(items: list[tuple[Tensor, int] | DataError]) -> Any:
    error = next((item for item in items if isinstance(item, DataError)), None)
    return default_collate(items) if error is None else error


@contextmanager
def all_random_states(seed: int) -> Iterator[None]:
    """The generators of torch, NumPy and Python start from ``seed`` inside, and are unchanged afterwards."""
    numbers, own = np.random.get_state(), random.getstate()
    try:
        with preserved_random_state(seed):
            np.random.seed(seed % 2**32)
            random.seed(seed)
            yield
    finally:
        np.random.set_state(numbers)
        random.setstate(own)
