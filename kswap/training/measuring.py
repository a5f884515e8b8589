"""Accuracy and loss of a classifier, on the way of a run and at its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from kswap.analysis.loaded_model import LoadedModel
from kswap.data.picture_set import LabelledPictures
from kswap.graph.modes import evaluating
from kswap.training.pictures import LoadedPictures, TensorPictures, fits_in_memory, loaded_batches
from kswap.training.processes import Processes
from kswap.training.state import Quality


@dataclass(frozen=True)
class Counts:
    """What was counted over some pictures: ``correct_hflip`` with the probabilities of the mirrored ones added."""

    images: int
    correct: int
    correct_hflip: int
    loss: float

    @property
    def quality(self) -> Quality:
        """Accuracy and mean loss."""
        return Quality(self.correct / self.images, self.loss / self.images)


class Examination:
    """Pictures to measure on, prepared as the model needs them.

    Args:
        images: The pictures.
        loaded: The model's device, type and preprocessing.
        batch: Pictures per forward pass.
        workers: Processes that read pictures which do not fit into memory.
        processes: Each of them measures on its part.
        shown: Whether to show a bar while pictures are read.
    """

    def __init__(
        self,
        images: LabelledPictures,
        loaded: LoadedModel,
        batch: int,
        workers: int,
        processes: Processes,
        shown: bool = True,
    ) -> None:
        self.images = images
        self._loaded, self._batch, self._workers, self._processes = loaded, batch, workers, processes
        self._pictures: TensorPictures | None = None
        if not workers or fits_in_memory(images, loaded.preprocessing):
            self._pictures = TensorPictures(images, loaded.preprocessing, loaded.device, shown=shown)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        own = range(self._processes.rank, len(self.images), self._processes.count)
        parts = [list(own[start : start + self._batch]) for start in range(0, len(own), self._batch)]
        preprocessing = self._loaded.preprocessing
        if self._pictures is None:
            items = LoadedPictures(
                self.images, range(len(self.images)), preprocessing.__call__, preprocessing.mode, seed=0
            )
            yield from loaded_batches(items, parts, self._workers)
            return
        for part in parts:
            numbers = torch.tensor(part)
            yield preprocessing.normalized(self._pictures.pixels(numbers)), self._pictures.labels[numbers]

    @torch.inference_mode()
    def counts(self, classifier: nn.Module, hflip: bool = False) -> Counts:
        """Loss and right answers of ``classifier``, which returns logits, over all processes."""
        device = self._loaded.device
        sums = torch.zeros(4, dtype=torch.float64, device=device)
        with evaluating(classifier):
            for pixels, found in self._batches():
                inputs, labels = self._loaded.inputs(pixels), found.to(device)
                logits = classifier(inputs).float()
                given = logits.softmax(1)
                both = given + classifier(inputs.flip(-1)).float().softmax(1) if hflip else given
                sums += torch.stack(
                    [
                        torch.tensor(len(labels), dtype=torch.float64, device=device),
                        (given.argmax(1) == labels).sum(),
                        (both.argmax(1) == labels).sum(),
                        functional.cross_entropy(logits, labels, reduction="sum"),
                    ]
                )
        images, correct, correct_hflip, loss = self._processes.sum_of(sums).tolist()
        return Counts(int(images), int(correct), int(correct_hflip), loss)
