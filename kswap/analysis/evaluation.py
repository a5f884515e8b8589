"""Accuracy on pictures in class folders."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, default_collate

from kswap.analysis.loaded_model import LoadedModel, load_model, logits_of, probabilities
from kswap.analysis.untrained import untrained_reason
from kswap.data.opening import Data, image_set
from kswap.data.picture_set import LabelledPictures
from kswap.data.preprocessing import Preprocessing
from kswap.errors import DataError
from kswap.graph.modes import evaluating
from kswap.isolation import isolated_children
from kswap.progress import ProgressBar, progress_bar

if TYPE_CHECKING:
    from kswap.converted import Conversion


@dataclass(frozen=True)
class ClassAccuracy:
    """How many pictures of one class there were, and how many were recognised."""

    name: str
    images: int
    correct: int

    @property
    def accuracy(self) -> float | None:
        """From 0 to 1; ``None`` where there was no picture of the class."""
        return self.correct / self.images if self.images else None

    def to_json(self) -> dict[str, Any]:
        """The counts and the accuracy, as JSON values."""
        return {"name": self.name, "images": self.images, "correct": self.correct, "accuracy": self.accuracy}


@dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate` measured.

    ``seconds`` are for reading and running together, on ``device``. ``untrained`` says why the weights were
    never trained, if they look so.
    """

    model: str
    data: str
    split: str | None
    classes: tuple[ClassAccuracy, ...]
    seconds: float
    preprocessing: Preprocessing
    hflip: bool
    device: str
    untrained: str | None = None

    @property
    def images(self) -> int:
        """How many pictures were evaluated."""
        return sum(entry.images for entry in self.classes)

    @property
    def correct(self) -> int:
        """Pictures whose class had the greatest probability."""
        return sum(entry.correct for entry in self.classes)

    @property
    def top1(self) -> float:
        """Accuracy over all pictures, from 0 to 1."""
        return self.correct / self.images

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "model": self.model,
            "data": self.data,
            "split": self.split,
            "images": self.images,
            "correct": self.correct,
            "top1": self.top1,
            "classes": [entry.to_json() for entry in self.classes],
            "seconds": round(self.seconds, 3),
            "preprocessing": self.preprocessing.to_json(),
            "hflip": self.hflip,
            "device": self.device,
            "untrained": self.untrained,
        }


def evaluate(
    model: nn.Module | Conversion | str | Path,
    data: Data,
    *,
    split: str | None = None,
    batch: int = 64,
    hflip: bool = False,
    limit: int | None = None,
    workers: int = 0,
    device: str | torch.device | None = None,
    preprocessing: Preprocessing | None = None,
    trust_source: bool = False,
    progress: bool = True,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    **model_kwargs: Any,
) -> Evaluation:
    """Top-1 accuracy of ``model`` on pictures in class folders.

    The model's outputs are one number per class of ``data``, in the order of its classes (class folders: sorted).
    Every module is left in the mode that it was in, and no global state changes. Warns if the weights were never
    trained.

    Args:
        model: A module, a conversion, a directory that kswap saved, or a name, which is built with its published
            weights.
        data: A folder or zip of ``SPLIT/CLASS/FILE`` or ``CLASS/FILE``, several of them, or a name such as
            ``"torchvision:CIFAR10"``: see :func:`kswap.image_set`.
        split: Which split; required where there are several.
        batch: Pictures per forward pass.
        hflip: Whether to add the softmax probabilities of the mirrored picture to those of the picture, as in the
            papers.
        limit: Only this many pictures, evenly over all.
        workers: Processes that read pictures ahead; 0 reads them between the passes.
        device: Where the model runs; without it a module stays where it is.
        preprocessing: How pictures are prepared, instead of as the model states.
        trust_source: Whether to run the user's own code that a saved model was built by.
        progress: Whether to show a bar, where there is a terminal.
        weights: A file of trained weights for a name, instead of its published ones.
        num_classes: Classes that ``weights`` were trained for, where they are not the model's own.
        model_kwargs: Other arguments of the builder of a name, such as ``act_layer="relu"``.

    Raises:
        DataError: The pictures cannot be read, or do not fit the model.
        KswapError: A subclass; the model cannot be found, built or loaded.
    """
    images = image_set(data, split)
    loaded = load_model(model, device, preprocessing, trust_source, weights, num_classes, model_kwargs)
    measured = evaluate_loaded(loaded, images, batch=batch, hflip=hflip, limit=limit, workers=workers, shown=progress)
    if measured.untrained:
        warnings.warn(untrained_warning(loaded.title, measured.untrained), stacklevel=2)
    return measured


def untrained_warning(title: str, reason: str) -> str:
    """The sentence for a model that was never trained.

    >>> untrained_warning("small", "2 of its 2 blocks have fresh weights")
    'small was never trained: 2 of its 2 blocks have fresh weights; its accuracy means nothing before training'
    """
    return f"{title} was never trained: {reason}; its accuracy means nothing before training"


def evaluate_loaded(
    loaded: LoadedModel,
    images: LabelledPictures,
    *,
    batch: int = 64,
    hflip: bool = False,
    limit: int | None = None,
    workers: int = 0,
    shown: bool = True,
) -> Evaluation:
    """As :func:`evaluate`, for a model and pictures that are open already; ``shown`` is whether to show a bar."""
    for name, value, least in (("batch", batch, 1), ("limit", limit, 1), ("workers", workers, 0)):
        if value is not None and value < least:
            raise DataError(f"{name} must be at least {least}, not {value}")
    order = _spread(len(images), limit)
    batches = _batches(loaded, images, order, batch, workers)
    start = time.perf_counter()
    with (
        evaluating(loaded.model),
        torch.inference_mode(),
        progress_bar("evaluating", len(order), shown=shown) as bar,
    ):
        hits = _hits(loaded, images, batches, hflip, bar)
    seconds = time.perf_counter() - start
    return Evaluation(
        loaded.title,
        images.source,
        images.split,
        _by_class(images, order, hits),
        seconds,
        loaded.preprocessing,
        hflip,
        str(loaded.device),
        untrained_reason(loaded.model),
    )


def _spread(count: int, limit: int | None) -> tuple[int, ...]:
    """``limit`` indices out of ``count``, evenly spaced, since pictures are sorted by class.

    >>> _spread(10, 3), len(_spread(10, 99))
    ((0, 3, 6), 10)
    """
    wanted = min(count, limit or count)
    return tuple(number * count // wanted for number in range(wanted))


@dataclass(frozen=True)
class _Inputs(Dataset["tuple[Tensor, int] | DataError"]):
    """The inputs of the pictures ``order`` with their labels.

    An error is an item like others: raised in a worker, its message would arrive as a traceback.
    """

    images: LabelledPictures
    order: Sequence[int]
    preprocessing: Preprocessing

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, position: int) -> tuple[Tensor, int] | DataError:
        number = self.order[position]
        try:
            picture = self.images.picture(number)
        except DataError as error:
            return error
        try:
            return self.preprocessing(picture), self.images.labels[number]
        except DataError as error:
            return DataError(f"{self.images.title(number)}: {error}")


def _collate(items: list[tuple[Tensor, int] | DataError]) -> Any:
    error = next((item for item in items if isinstance(item, DataError)), None)
    return default_collate(items) if error is None else error


def _batches(
    loaded: LoadedModel, images: LabelledPictures, order: Sequence[int], size: int, workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs ``(N, C, H, W)`` on the model's device, and labels ``(N)``. Raises the first :class:`DataError`."""
    loader = DataLoader(
        _Inputs(images, order, loaded.preprocessing),
        batch_size=size,
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=loaded.device.type == "cuda",
        # Without one of its own, a loader draws a seed from torch's global generator.
        generator=torch.Generator(),
    )
    with isolated_children():  # starts the workers
        batches = iter(loader)
    for batch in batches:
        if isinstance(batch, DataError):
            raise batch
        inputs, labels = batch
        yield loaded.inputs(inputs), labels


def _hits(
    loaded: LoadedModel,
    images: LabelledPictures,
    batches: Iterator[tuple[Tensor, Tensor]],
    hflip: bool,
    bar: ProgressBar,
) -> tuple[bool, ...]:
    """For each picture, whether its class had the greatest probability. The bar moves after each forward pass."""
    hits: list[bool] = []
    passes = 2 if hflip else 1
    for inputs, labels in batches:
        summed = _class_probabilities(loaded, inputs, images)
        if hflip:
            bar.advance(len(labels) / passes)
            summed = summed + _class_probabilities(loaded, inputs.flip(-1), images)
        hits += (summed.argmax(1).cpu() == labels).tolist()
        bar.advance(len(labels) / passes, note=f"{sum(hits) / len(hits):.2%}")
    return tuple(hits)


def _class_probabilities(loaded: LoadedModel, inputs: Tensor, images: LabelledPictures) -> Tensor:
    """``(N, classes)``. Raises :class:`DataError` where the pictures have another number of classes."""
    logits = logits_of(loaded.model(inputs))
    if logits.shape[1] != len(images.classes):
        raise DataError(
            f"{loaded.title} has {logits.shape[1]} classes and {images.source} has {len(images.classes)}: "
            f"pass pictures of the classes that the model was trained for"
        )
    return probabilities(logits)


def _by_class(images: LabelledPictures, order: Sequence[int], hits: Sequence[bool]) -> tuple[ClassAccuracy, ...]:
    counts = [[0, 0] for _ in images.classes]
    for number, hit in zip(order, hits, strict=True):
        counts[images.labels[number]][0] += 1
        counts[images.labels[number]][1] += hit
    return tuple(ClassAccuracy(name, *count) for name, count in zip(images.classes, counts, strict=True))
