"""Accuracy on pictures in class folders."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kswap.analysis.loaded_model import Subject, evaluating, logits_of, probabilities, subject_of
from kswap.data.images import ImageSet
from kswap.data.preprocessing import Preprocessing
from kswap.errors import DataError

if TYPE_CHECKING:
    from kswap.converted import Conversion

# Pillow and zlib work beside each other in threads; more of them than this wait for the model.
_READERS = min(4, os.cpu_count() or 1)


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


@dataclass(frozen=True)
class Evaluation:
    """What :func:`evaluate` measured. ``seconds`` are for reading and running together, on ``device``."""

    model: str
    data: str
    split: str | None
    classes: tuple[ClassAccuracy, ...]
    seconds: float
    preprocessing: Preprocessing
    hflip: bool
    device: str

    @property
    def images(self) -> int:
        """Pictures that were looked at."""
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
        classes = [
            {"name": entry.name, "images": entry.images, "correct": entry.correct, "accuracy": entry.accuracy}
            for entry in self.classes
        ]
        return {
            "model": self.model,
            "data": self.data,
            "split": self.split,
            "images": self.images,
            "correct": self.correct,
            "top1": self.top1,
            "classes": classes,
            "seconds": round(self.seconds, 3),
            "preprocessing": self.preprocessing.to_json(),
            "hflip": self.hflip,
            "device": self.device,
        }


def evaluate(
    model: nn.Module | Conversion | str | Path,
    data: str | Path | ImageSet,
    *,
    split: str | None = None,
    batch: int = 64,
    hflip: bool = False,
    limit: int | None = None,
    device: str | torch.device | None = None,
    preprocessing: Preprocessing | None = None,
    trust_source: bool = False,
    progress: bool = True,
) -> Evaluation:
    """Top-1 accuracy of ``model`` on a folder or zip of ``SPLIT/CLASS/FILE`` or ``CLASS/FILE``.

    ``model`` is a module, a conversion, a directory that kswap saved, or a name, which is built with its
    published weights. Its outputs are one number for each class of ``data``, in the sorted order of the class
    folders. ``hflip`` adds the softmax probabilities of the mirrored picture to those of the picture, as in the
    papers. ``limit`` looks at so many pictures, evenly over all. ``preprocessing`` takes the place of the model's
    own, ``progress`` shows a bar where there is a terminal. The model is left in the mode that it was in.
    Raises :class:`DataError` and other :class:`KswapError` subclasses.
    """
    images = data if isinstance(data, ImageSet) else ImageSet(data, split)
    subject = subject_of(model, device, preprocessing, trust_source)
    return evaluate_subject(subject, images, batch=batch, hflip=hflip, limit=limit, progress=progress)


def evaluate_subject(
    subject: Subject,
    images: ImageSet,
    *,
    batch: int = 64,
    hflip: bool = False,
    limit: int | None = None,
    progress: bool = True,
) -> Evaluation:
    """As :func:`evaluate`, for a subject and pictures that were opened before."""
    for name, value in (("batch", batch), ("limit", limit)):
        if value is not None and value < 1:
            raise DataError(f"{name} must be at least 1, not {value}")
    order = _spread(len(images), limit)
    start = time.perf_counter()
    with evaluating(subject.model), torch.inference_mode():
        hits = _hits(subject, images, order, batch, hflip, progress)
    seconds = time.perf_counter() - start
    return Evaluation(
        subject.title,
        str(images.path),
        images.split,
        _by_class(images, order, hits),
        seconds,
        subject.preprocessing,
        hflip,
        str(subject.device),
    )


def _spread(count: int, limit: int | None) -> tuple[int, ...]:
    """``limit`` indexes out of ``count``, evenly spaced, since pictures are sorted by class.

    >>> _spread(10, 3), len(_spread(10, 99))
    ((0, 3, 6), 10)
    """
    wanted = min(count, limit or count)
    return tuple(number * count // wanted for number in range(wanted))


def _batches(subject: Subject, images: ImageSet, order: Sequence[int], size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and labels, read ahead by one batch in threads, so that the model need not wait."""

    def read(number: int) -> Tensor:
        return subject.preprocessing(images.picture(number))

    waiting: deque[tuple[Sequence[int], list[Future[Tensor]]]] = deque()
    pool = ThreadPoolExecutor(_READERS)
    try:
        for start in range(0, len(order) + size, size):
            numbers = order[start : start + size]
            if numbers:
                waiting.append((numbers, [pool.submit(read, number) for number in numbers]))
            if waiting and (len(waiting) > 1 or not numbers):
                ready, futures = waiting.popleft()
                pictures = torch.stack([future.result() for future in futures])
                yield subject.inputs(pictures), torch.tensor([images.labels[number] for number in ready])
    finally:
        pool.shutdown(cancel_futures=True)


def _hits(
    subject: Subject, images: ImageSet, order: Sequence[int], batch: int, hflip: bool, progress: bool
) -> tuple[bool, ...]:
    """For each picture of ``order``, whether its class had the greatest probability."""
    from rich.console import Console
    from rich.progress import BarColumn as Bar
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("evaluating"),
        Bar(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[top1]}"),
    )
    hits: list[bool] = []
    with Progress(*columns, console=console, transient=True, disable=not (progress and console.is_interactive)) as bar:
        task = bar.add_task("evaluating", total=len(order), top1="")
        for inputs, labels in _batches(subject, images, order, batch):
            found = _summed(subject, inputs, images, hflip).argmax(1).cpu()
            hits += (found == labels).tolist()
            bar.update(task, completed=len(hits), top1=f"{sum(hits) / len(hits):.2%}")
    return tuple(hits)


def _summed(subject: Subject, inputs: Tensor, images: ImageSet, hflip: bool) -> Tensor:
    """``(N, classes)``: softmax probabilities, with ``hflip`` added to those of the mirrored inputs.

    Raises :class:`DataError` where the model has another number of classes than the pictures.
    """
    logits = logits_of(subject.model(inputs))
    if logits.shape[1] != len(images.classes):
        raise DataError(
            f"{subject.title} has {logits.shape[1]} classes and {images.path} has {len(images.classes)}: "
            f"give pictures of the classes that the model was trained for"
        )
    found = probabilities(logits)
    return found + probabilities(logits_of(subject.model(inputs.flip(-1)))) if hflip else found


def _by_class(images: ImageSet, order: Sequence[int], hits: Sequence[bool]) -> tuple[ClassAccuracy, ...]:
    counts = [[0, 0] for _ in images.classes]
    for number, hit in zip(order, hits, strict=True):
        counts[images.labels[number]][0] += 1
        counts[images.labels[number]][1] += hit
    return tuple(ClassAccuracy(name, *count) for name, count in zip(images.classes, counts, strict=True))
