"""One training: its model and its pictures, checked before the first step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from kswap.analysis.loaded_model import LoadedModel
from kswap.codec import encode
from kswap.converted import Conversion
from kswap.data.picture_set import LabelledPictures
from kswap.data.prepared import fingerprint
from kswap.data.preprocessing import Preprocessing
from kswap.errors import DataError, TrainingError, wording
from kswap.nn import PointwiseBlock
from kswap.progress import progress_bar
from kswap.training.augmentation import BatchAugmentation
from kswap.training.classifier import Classifier, distributes, output_of
from kswap.training.loop import Loop, order_of
from kswap.training.measuring import Examination
from kswap.training.optimize import optimize_for_training
from kswap.training.optimizer import optimizer_of
from kswap.training.parameter_groups import parameter_groups, structured_parameters
from kswap.training.pictures import LoadedPictures, ReadAhead, TensorPictures, all_random_states
from kswap.training.processes import Processes
from kswap.training.recipe import TrainingRecipe
from kswap.training.record import Tested, TrainingRecord
from kswap.training.schedules import schedule_of
from kswap.training.splits import Splits, title_of
from kswap.training.state import Quality, State
from kswap.training.trainable import with_shared_tensors
from kswap.training.update import Update
from kswap.training.weights import hash_of
from kswap.training.work import WorkDirectory

# The types of mixed precision by their names.
HALVES = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class TrainingRun:
    """A model, which is trained in place, its pictures, and what decides the result.

    Args:
        conversion: A copy of what was asked for, on its device.
        loaded: The same, with the preprocessing of the run.
        splits: The pictures.
        recipe: How to train.
        seed: Where all random numbers come from.
        amp: One of :data:`HALVES`.
        channels_last: Whether the model computes in that memory format.
        workers: Processes that read pictures ahead.
        processes: Those that train together.
        shown: Whether to show bars.
    """

    conversion: Conversion
    loaded: LoadedModel
    splits: Splits
    recipe: TrainingRecipe
    seed: int
    amp: str
    channels_last: bool
    workers: int
    processes: Processes
    shown: bool
    weights: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", hash_of(self.conversion.model))  # training changes them
        classes, found = self._output.shape[1], len(self.splits.train.classes)
        if classes != found:
            raise DataError(
                f"{self.loaded.title} has {classes} classes and {title_of(self.splits.train)} has {found}: "
                f"build the model with as many ({wording(f'num_classes={found}', f'--num-classes {found}')})"
            )
        self.processes.part_of(self.recipe.batch)

    @cached_property
    def _output(self) -> Tensor:
        return output_of(self.loaded)

    @cached_property
    def steps(self) -> int:
        """How many batches: the epochs of the recipe, rounded up to a whole one."""
        return math.ceil(self.recipe.epochs * len(self.splits.train) / self.recipe.batch)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What decides the result, as JSON values."""
        validation, test = self.splits.validation, self.splits.test
        return {
            "recipe": encode(self.recipe),
            "seed": self.seed,
            "amp": self.amp,
            "channels_last": self.channels_last,
            "pictures": fingerprint(self.splits.train),
            "validation": None if validation is None else fingerprint(validation),
            "test": None if test is None else fingerprint(test),
            "preprocessing": self.loaded.preprocessing.to_json(),
            "weights": self.weights,
            "device": self.loaded.device.type,
            "processes": self.processes.count,
        }

    def train(self, work: WorkDirectory | None, checkpoint_seconds: float) -> State:
        """All steps, or those that are left; afterwards the model has the weights of the end."""
        recipe, device = self.recipe, self.loaded.device
        classifier = self._classifier()
        task = _classification_task(classifier, self._criterion(), device)
        if self.processes.count > 1:
            task.prepare_distributed(device_ids=[device.index] if device.type == "cuda" else None)
        optimizer = self._optimizer(classifier)
        count, batch = len(self.splits.train), recipe.batch
        schedule = schedule_of(optimizer, recipe.schedule, recipe.lr, self.steps, lambda step: step * batch // count)
        update = Update(classifier, optimizer, schedule, HALVES[self.amp], recipe.clip_grad, recipe.ema)
        loop = Loop(
            task,
            update,
            self._mixed(self._batches()),
            self.steps,
            batch,
            self.seed,
            recipe.norms == "frozen",
            max(1, round(recipe.evaluations * self.steps * batch / count)),
            self._measuring(update),
            (lambda quality: quality.top1) if recipe.best_by == "accuracy" else _negative_loss,
            measures_first=False,
            work=work,
            checkpoint_seconds=checkpoint_seconds,
            processes=self.processes,
        )
        with progress_bar("training", self.steps, shown=self.shown) as bar:
            state = loop.run(bar)
        self.load_(update.kept.state_dict())
        return state

    def load_(self, state: dict[str, Tensor]) -> None:
        """Give the model the weights of a classifier, in place."""
        Classifier(self.conversion.model).load_state_dict(state)

    def _classifier(self) -> nn.Module:
        """The model as the task calls it, in the form that trains quickest, over the same parameters."""
        model = self.loaded.model
        if self.channels_last:
            model.to(memory_format=torch.channels_last)
        blocks = any(isinstance(module, PointwiseBlock) for module in model.modules())
        if blocks and self.loaded.device.type == "cpu":
            model = optimize_for_training(model, autotune=False)
        if self.processes.count > 1 and self.loaded.device.type == "cuda":
            from timm.layers import convert_sync_batchnorm

            model = convert_sync_batchnorm(with_shared_tensors(model))
        return Classifier(model, distributes(self._output))

    def _optimizer(self, classifier: nn.Module) -> torch.optim.Optimizer:
        recipe = self.recipe
        trained: nn.Module | list[dict[str, Any]] = classifier
        if recipe.structured_lr != 1:
            # The blocks may have another form in the classifier; their parameters are the same objects.
            structured = structured_parameters(self.loaded.model)
            trained = parameter_groups(
                classifier, recipe.lr, recipe.lr * recipe.structured_lr, recipe.weight_decay, structured
            )
        return optimizer_of(trained, recipe.optimizer, recipe.lr, recipe.weight_decay, recipe.optimizer_options)

    def _criterion(self) -> nn.Module:
        if self.recipe.mixup or self.recipe.cutmix:
            from timm.loss import SoftTargetCrossEntropy

            soft: nn.Module = SoftTargetCrossEntropy()
            return soft
        return nn.CrossEntropyLoss(label_smoothing=self.recipe.label_smoothing)

    def _batches(self) -> Callable[[int], tuple[Tensor, Tensor]]:
        """Augmented inputs and labels of a step: the rows that this process trains on."""
        train, recipe, count = self.splits.train, self.recipe, len(self.splits.train)
        order = order_of(count, self.steps, recipe.batch, self.seed)
        rows = self.processes.part_of(recipe.batch)
        if recipe.augment.per_picture:
            return ReadAhead(self._items(order.flatten().tolist()), order.shape, rows, self.workers)
        preprocessing = self.loaded.preprocessing
        pictures = TensorPictures(train, preprocessing, self.loaded.device, shown=self.shown)
        augmented = BatchAugmentation(recipe.augment, count, self.seed)
        unscaled = replace(preprocessing, mean=(0.0,), std=(1.0,))

        def batches(step: int) -> tuple[Tensor, Tensor]:
            numbers = order[step]
            epochs = torch.arange(step * recipe.batch, (step + 1) * recipe.batch) // count
            images = unscaled.normalized(pictures.pixels(numbers[rows]))
            inputs = _normalized(augmented(images, numbers, epochs, rows), preprocessing)
            return inputs, pictures.labels[numbers[rows].to(inputs.device)]

        return batches

    def _items(self, order: list[int]) -> LoadedPictures:
        preprocessing = self.loaded.preprocessing
        transform = self.recipe.augment.transform(preprocessing)
        return LoadedPictures(self.splits.train, order, transform, preprocessing.mode, self.seed)

    def _mixed(self, batches: Callable[[int], tuple[Tensor, Tensor]]) -> Callable[[int], tuple[Tensor, Tensor]]:
        """The same on the device and in the memory format of the model, mixed as the recipe says."""
        from timm.data import Mixup

        recipe = self.recipe
        mixup = None
        if recipe.mixup or recipe.cutmix:
            mixup = Mixup(
                recipe.mixup,
                recipe.cutmix,
                label_smoothing=recipe.label_smoothing,
                num_classes=len(self.splits.train.classes),
            )

        def mixed(step: int) -> tuple[Tensor, Tensor]:
            found, labels = batches(step)
            inputs, labels = self.loaded.inputs(found), labels.to(self.loaded.device)
            if self.channels_last:
                inputs = inputs.contiguous(memory_format=torch.channels_last)
            own_seed = hash((self.seed, step, self.processes.rank)) % 2**63
            if self.processes.count > 1:  # dropout differs between processes
                torch.manual_seed(own_seed)
            if mixup is not None:
                with all_random_states(own_seed):
                    inputs, labels = mixup(inputs, labels)
            return inputs, labels

        return mixed

    @cached_property
    def _validation(self) -> Examination | None:
        return None if self.splits.validation is None else self._examination(self.splits.validation)

    def _examination(self, images: LabelledPictures) -> Examination:
        batch = 64 if self.loaded.device.type == "cpu" else 256
        return Examination(images, self.loaded, batch, self.workers, self.processes, self.shown)

    def _measuring(self, update: Update) -> Callable[[], Quality]:
        validation = self._validation

        def measure() -> Quality:
            self.processes.share_buffers_(update.kept)
            if validation is None:
                return Quality()
            with update.autocast():
                return validation.counts(update.kept).quality

        return measure

    def tested(self) -> Tested | None:
        """Accuracy of the model as it is, on the test pictures, or else on those of validation."""
        found = self._validation if self.splits.test is None else self._examination(self.splits.test)
        if found is None:
            return None
        classifier = Classifier(self.conversion.model, distributes(self._output))
        counts = found.counts(classifier, hflip=True)
        top1, hflip = counts.correct / counts.images, counts.correct_hflip / counts.images
        return Tested(title_of(found.images), counts.images, top1, hflip, counts.loss / counts.images)

    def record(self, state: State, kept: str, tested: Tested | None) -> TrainingRecord:
        """What was done; ``kept`` is ``"last"`` or ``"best"``."""
        images, seconds = state.step * self.recipe.batch, state.seconds - state.measuring_seconds
        validation = self.splits.validation
        return TrainingRecord(
            settings=self.settings,
            model=self.loaded.title,
            classes=tuple(self.splits.train.classes),
            params=sum(p.numel() for p in self.conversion.model.parameters() if p.requires_grad),
            images=images,
            epochs=images / len(self.splits.train),
            train_images=len(self.splits.train),
            seconds=round(seconds, 3),
            images_per_second=round(images / max(seconds, 1e-9), 2),
            measured=tuple(state.measured),
            validation=None if validation is None else title_of(validation),
            validation_images=0 if validation is None else len(validation),
            kept=kept,
            kept_images=state.best_images if kept == "best" else images,
            tested=tested,
        )


def _classification_task(classifier: nn.Module, criterion: nn.Module, device: torch.device) -> Any:
    try:
        from timm.task import ClassificationTask
    except ImportError as error:
        raise TrainingError("training needs timm 1.0.25 or newer: pip install 'kswap[train]'") from error
    return ClassificationTask(classifier, criterion=criterion, device=device, verbose=False)


def _normalized(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    mean = torch.tensor(preprocessing.mean, device=images.device).view(-1, 1, 1)
    std = torch.tensor(preprocessing.std, device=images.device).view(-1, 1, 1)
    return images.sub(mean).div(std)


def _negative_loss(quality: Quality) -> float | None:
    return None if quality.loss is None else -quality.loss
