"""Distillation in the loop of :mod:`kswap.training.loop`: its pictures, its teacher's answers, its accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from kswap.analysis.loaded_model import LoadedModel
from kswap.data.picture_set import LabelledPictures
from kswap.data.prepared import KeptTensors, PreparedPictures
from kswap.graph.modes import evaluating
from kswap.training.loop import Loop
from kswap.training.optimizer import optimizer_of
from kswap.training.schedules import cosine
from kswap.training.state import Quality
from kswap.training.update import Update
from kswap.training.work import WorkDirectory
from kswap.transfer.recipe import Recipe
from kswap.transfer.teacher import Teacher


class Pictures:
    """The training pictures as inputs, augmented as the recipe says. Whole pictures are kept for augmentation."""

    def __init__(self, prepared: PreparedPictures, recipe: Recipe) -> None:
        self.prepared = prepared
        self._augment = _augmentation(prepared, recipe)
        self._whole = KeptTensors(self._picture)

    def _picture(self, number: int) -> Tensor:
        from torchvision.transforms.functional import pil_to_tensor

        picture: Tensor = pil_to_tensor(self.prepared.images.picture(number).convert(self.prepared.preprocessing.mode))
        return picture

    def inputs(self, numbers: Sequence[int]) -> Tensor:
        """float32, ``(N, channels, height, width)``; augmentation draws from torch's global generator."""
        if self._augment is None:
            return self.prepared.inputs(numbers)
        cropped = torch.stack([self._augment(self._whole[number]) for number in numbers])
        return self.prepared.preprocessing.normalized(cropped)

    def labels(self, numbers: Sequence[int]) -> Tensor:
        """``(N)``; zeros where the pictures have no labels."""
        images = self.prepared.images
        if isinstance(images, LabelledPictures):
            return torch.tensor([images.labels[number] for number in numbers])
        return torch.zeros(len(numbers), dtype=torch.long)


def _augmentation(prepared: PreparedPictures, recipe: Recipe) -> Callable[[Tensor], Tensor] | None:
    if recipe.augment == "none":
        return None
    from torchvision.transforms import v2

    _, height, width = prepared.preprocessing.input_size
    crop = v2.RandomResizedCrop((height, width), scale=(recipe.crop_least, 1.0), antialias=True)
    made: Callable[[Tensor], Tensor] = v2.Compose([crop, v2.RandomHorizontalFlip()])
    return made


@torch.inference_mode()
def top1_of(loaded: LoadedModel, classifier: nn.Module, pictures: PreparedPictures, limit: int, batch: int) -> float:
    """The share of at most ``limit`` pictures, evenly over all, whose class has the greatest logit."""
    images = pictures.images
    assert isinstance(images, LabelledPictures)
    count = min(limit, len(images))
    numbers = [number * len(images) // count for number in range(count)]
    correct = 0
    with evaluating(classifier):
        for start in range(0, count, batch):
            part = numbers[start : start + batch]
            inputs = loaded.inputs(loaded.preprocessing.normalized(pictures.pixels(part)))
            given = classifier(inputs).argmax(1).cpu()
            correct += int((given == torch.tensor([images.labels[number] for number in part])).sum())
    return correct / count


def distillation_loop(
    task: nn.Module,
    student: nn.Module,
    loaded: LoadedModel,
    teacher: Teacher,
    answers: Tensor | None,
    pictures: Pictures,
    recipe: Recipe,
    order: Tensor,
    seed: int,
    frozen: bool,
    measure: Callable[[], float | None],
    work: WorkDirectory | None = None,
    checkpoint_seconds: float = 20.0,
) -> Loop:
    """The loop of one distillation. ``measure`` returns the student's accuracy, or ``None`` where there are no labels.

    Raises :class:`kswap.errors.TrainingError` for an optimizer that timm does not know.
    """

    def batches(step: int) -> tuple[Tensor, Tensor]:
        numbers: list[int] = order[step].tolist()
        inputs = loaded.inputs(pictures.inputs(numbers))
        if inputs.device.type == "cpu":  # as the student's weights are
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        if answers is not None:
            teacher.answers = answers[numbers].to(inputs.device, inputs.dtype)
        return inputs, pictures.labels(numbers).to(inputs.device)

    # A task on features trains a projection beside the student.
    trained = getattr(task, "trainable_module", student)
    optimizer = optimizer_of(trained, recipe.optimizer, recipe.lr, recipe.weight_decay)
    schedule = cosine(optimizer, recipe.lr, recipe.warmup, len(order), recipe.schedule == "constant")
    return Loop(
        task,
        Update(student, optimizer, schedule),
        batches,
        len(order),
        recipe.batch,
        seed,
        frozen,
        recipe.evaluations,
        lambda: Quality(measure()),
        unsaved=("teacher.",),
        work=work,
        checkpoint_seconds=checkpoint_seconds,
    )
