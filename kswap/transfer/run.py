"""One distillation: its two models and its pictures, checked before the first step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kswap.analysis.loaded_model import LoadedModel, load_model
from kswap.analysis.untrained import untrained_reason
from kswap.converted import Conversion
from kswap.data.opening import Data
from kswap.data.picture_set import PictureSet
from kswap.data.prepared import PreparedPictures, fingerprint
from kswap.data.preprocessing import Preprocessing
from kswap.errors import DataError, ModelError, TrainingError
from kswap.graph.clone import full_clone
from kswap.graph.modes import evaluating
from kswap.graph.random_state import preserved_random_state
from kswap.progress import progress_bar
from kswap.training.classifier import output_of
from kswap.training.loop import order_of
from kswap.training.optimize import optimize_for_training
from kswap.training.state import State
from kswap.training.weights import hash_of
from kswap.training.work import WorkDirectory
from kswap.transfer.examined import Examined, examined
from kswap.transfer.recipe import Recipe
from kswap.transfer.record import DistillationRecord
from kswap.transfer.teacher import Classifier, Teacher, distillation_task, kept_answers
from kswap.transfer.training import Pictures, distillation_loop, top1_of

# Pictures per forward pass where nothing is trained.
_BATCH = 64


@dataclass(frozen=True)
class Run:
    """A student, which is trained in place, its teacher, and what decides the result.

    Args:
        student: A copy of the conversion.
        teacher: The teacher, with its own mean and deviation and the student's size and cut.
        images: The pictures to train on.
        examined: Those to measure accuracy on.
        recipe: How to train.
        steps: How many batches.
        seed: Where all random numbers come from.
        eval_limit: How many pictures accuracy is measured on at most.
        frozen: Whether batch norms keep their statistics.
    """

    conversion: Conversion
    student: LoadedModel
    teacher: LoadedModel
    images: PictureSet
    examined: Examined | None
    recipe: Recipe
    steps: int
    seed: int
    eval_limit: int
    frozen: bool

    @classmethod
    def of(
        cls,
        conversion: Conversion,
        teacher: nn.Module | Conversion | str | Path,
        images: PictureSet,
        recipe: Recipe,
        steps: int,
        seed: int,
        *,
        eval_data: Data | None,
        eval_split: str | None,
        eval_limit: int,
        device: str | torch.device | None,
        preprocessing: Preprocessing | None,
        trust_source: bool,
    ) -> Run:
        """Load and check all of it. Raises :class:`kswap.errors.KswapError` subclasses."""
        frozen = recipe.norms == "frozen" or (recipe.norms == "auto" and untrained_reason(conversion.model) is None)
        copied = replace(conversion, model=full_clone(conversion.model))
        student = load_model(copied, device, preprocessing)
        taught = load_model(teacher, student.device, preprocessing, trust_source)
        own = taught.preprocessing
        if own.input_size[0] != student.preprocessing.input_size[0]:
            raise ModelError(f"the teacher takes {own.input_size[0]} channels, and the converted model does not")
        taught = taught.prepared_by(replace(student.preprocessing, mean=own.mean, std=own.std))
        classes = _check_outputs(student, taught)
        with_labels = images.labelled() if recipe.label_weight else None
        if recipe.label_weight and with_labels is None:
            raise DataError(
                f"the recipe learns from labels too (label_weight = {recipe.label_weight:g}), and the pictures of "
                f"{images.source} do not lie in class folders: arrange them so, or set label_weight = 0"
            )
        if with_labels is not None and len(with_labels.classes) != classes:
            raise DataError(f"the model has {classes} classes, and {images.source} has another number of class folders")
        found = examined(images, eval_data, eval_split, classes)
        return cls(copied, student, taught, images, found, recipe, steps, seed, eval_limit, frozen)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What decides the result, as JSON values."""
        return {
            "recipe": asdict(self.recipe),
            "images": self.steps * self.recipe.batch,
            "seed": self.seed,
            "frozen_norms": self.frozen,
            "pictures": fingerprint(self.images),
            "preprocessing": self.student.preprocessing.to_json(),
            "weights": hash_of(self.student.model),
            "teacher": self.teacher.title,
            "teacher_weights": hash_of(self.teacher.model),
            "teacher_preprocessing": self.teacher.preprocessing.to_json(),
            "examined": None if self.examined is None else self.examined.title,
            "eval_limit": self.eval_limit,
            "device": self.student.device.type,
        }

    def train(self, work: WorkDirectory | None, checkpoint_seconds: float, shown: bool) -> State:
        """All steps, or those that are left; afterwards the student has the weights of the end."""
        with_labels = self.images.labelled() if self.recipe.label_weight else None
        prepared = PreparedPictures(with_labels or self.images, self.student.preprocessing)
        order = order_of(len(prepared), self.steps, self.recipe.batch, self.seed)
        quick = optimize_for_training(self._laid_out(), autotune=False)
        student = Classifier(quick, self.student.preprocessing)
        teacher = Teacher(self.teacher.model, self.teacher.preprocessing)
        with evaluating(self.teacher.model):
            with preserved_random_state(self.seed):
                task = distillation_task(self.recipe, student, teacher, self.student.device)
            loop = distillation_loop(
                task,
                student,
                self.student,
                teacher,
                self._answers(teacher, prepared, torch.unique(order).tolist(), work, shown),
                Pictures(prepared, self.recipe),
                self.recipe,
                order,
                self.seed,
                self.frozen,
                self._measuring(student),
                work,
                checkpoint_seconds,
            )
            with progress_bar("distilling", self.steps, shown=shown) as bar:
                return loop.run(bar)

    def _laid_out(self) -> nn.Module:
        """The student in the memory format that trains quickest: on a CPU channels_last, by a third."""
        if self.student.device.type == "cpu":
            self.student.model.to(memory_format=torch.channels_last)
        return self.student.model

    def _answers(
        self, teacher: Teacher, prepared: PreparedPictures, numbers: list[int], work: WorkDirectory | None, shown: bool
    ) -> torch.Tensor | None:
        """The teacher's answers, where each picture is always the same."""
        if self.recipe.augment != "none":
            return None
        key = " ".join(str(self.settings[name]) for name in ("pictures", "teacher_weights", "teacher_preprocessing"))
        path = None if work is None else work.path / "teacher.safetensors"
        return kept_answers(
            teacher, self.teacher, prepared, numbers, self.recipe.loss, _BATCH, path, f"{self.recipe.loss} {key}", shown
        )

    @cached_property
    def _examined_pictures(self) -> PreparedPictures | None:
        return None if self.examined is None else PreparedPictures(self.examined.images, self.student.preprocessing)

    def _measuring(self, student: nn.Module) -> Callable[[], float | None]:
        pictures = self._examined_pictures
        if pictures is None:
            return lambda: None
        return partial(top1_of, self.student, student, pictures, self.eval_limit, _BATCH)

    def record(self, state: State, kept: str) -> DistillationRecord:
        """What was done, with the teacher's accuracy."""
        pictures, top1 = self._examined_pictures, None
        if pictures is not None:
            teacher = Teacher(self.teacher.model, self.teacher.preprocessing)
            top1 = top1_of(self.teacher, teacher, pictures, self.eval_limit, _BATCH)
        return DistillationRecord(
            settings=self.settings,
            images=state.step * self.recipe.batch,
            seconds=round(state.seconds, 3),
            measured=tuple(state.measured),
            teacher_top1=top1,
            examined=self.settings["examined"],
            examined_images=0 if pictures is None else min(self.eval_limit, len(pictures)),
            kept=kept,
        )


def _check_outputs(student: LoadedModel, teacher: LoadedModel) -> int:
    """The number of classes, the same for both models.

    Raises:
        ModelError: One of them does not take the pictures, or is not a classifier.
        TrainingError: They have different classes.
    """
    counts = [output_of(loaded).shape[1] for loaded in (student, teacher)]
    if counts[0] != counts[1]:
        raise TrainingError(
            f"the teacher {teacher.title} has {counts[1]} classes and {student.title} has {counts[0]}: "
            f"pass the model that it was converted from"
        )
    return counts[0]
