"""The steps of a distillation: a function of the settings and of the number of the step, and of nothing else.

Each step starts torch's generators from the seed and its own number, so a run that continues after an interruption
draws what an undisturbed one draws, and its weights are the same to the last bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from kswap.analysis.loaded_model import LoadedModel
from kswap.data.images import ImageSet
from kswap.data.prepared import KeptTensors, PreparedPictures
from kswap.errors import TrainingError, excerpt, nearest, wording
from kswap.graph.modes import evaluating
from kswap.graph.random_state import preserved_random_state
from kswap.progress import ProgressBar
from kswap.transfer.recipe import Recipe
from kswap.transfer.teacher import Teacher
from kswap.transfer.work import WorkDirectory


@dataclass(frozen=True)
class Measured:
    """What was measured after ``images`` images: the mean loss since the measurement before, and top-1 accuracy."""

    images: int
    loss: float | None
    top1: float | None


@dataclass
class State:
    """How far a run is, beside the weights."""

    step: int = 0
    losses: list[float] = field(default_factory=list)
    measured: list[Measured] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    best_top1: float | None = None
    seconds: float = 0.0

    def to_plain(self) -> dict[str, Any]:
        """Values that a checkpoint may hold."""
        return {**vars(self), "measured": [[m.images, m.loss, m.top1] for m in self.measured]}

    @classmethod
    def of_plain(cls, plain: dict[str, Any]) -> State:
        return cls(**{**plain, "measured": [Measured(*values) for values in plain["measured"]]})


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
        if isinstance(images, ImageSet):
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


def order_of(count: int, steps: int, batch: int, seed: int) -> Tensor:
    """The numbers of the pictures of each step, ``(steps, batch)``: one random order of all after the other.

    >>> order_of(4, steps=2, batch=4, seed=0).sort().values.tolist()
    [[0, 1, 2, 3], [0, 1, 2, 3]]
    """
    generator = torch.Generator().manual_seed(seed)
    rounds = math.ceil(steps * batch / count)
    orders = [torch.randperm(count, generator=generator) for _ in range(rounds)]
    return torch.cat(orders)[: steps * batch].view(steps, batch)


def set_modes_(model: nn.Module, frozen: bool) -> None:
    """Training mode; with ``frozen``, batch norms keep their statistics, and their scale and shift are trained."""
    model.train()
    if frozen:
        for module in model.modules():
            if isinstance(module, _NormBase):
                module.eval()


@torch.inference_mode()
def top1_of(loaded: LoadedModel, classifier: nn.Module, pictures: PreparedPictures, limit: int, batch: int) -> float:
    """The share of at most ``limit`` pictures, evenly over all, whose class has the greatest logit."""
    images = pictures.images
    assert isinstance(images, ImageSet)
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


@dataclass
class Trainer:
    """One run. ``measure`` returns the student's accuracy, or ``None`` where there are no labels."""

    task: nn.Module
    student: nn.Module
    loaded: LoadedModel
    teacher: Teacher
    answers: Tensor | None
    pictures: Pictures
    recipe: Recipe
    order: Tensor
    seed: int
    frozen: bool
    measure: Callable[[], float | None]
    work: WorkDirectory | None = None
    checkpoint_seconds: float = 20.0

    def __post_init__(self) -> None:
        self.steps = len(self.order)
        self.optimizer, self.schedule = _optimizer_of(
            # A task on features trains a projection beside the student.
            getattr(self.task, "trainable_module", self.student),
            self.recipe,
            self.steps,
        )
        self.state = State()

    def run(self, bar: ProgressBar) -> State:
        """Do what is left of the run. Raises :class:`TrainingError` where the loss is no finite number."""
        self._restore()
        start = saved = time.perf_counter()
        begun = self.state.seconds
        bar.advance(self.state.step)
        if not self.state.measured:
            self._note(None)
        while self.state.step < self.steps:
            loss = self._step()
            bar.advance(note=self._status(loss))
            now = time.perf_counter()
            self.state.seconds = begun + now - start
            due = self._evaluation_due()
            if due:
                self._note(sum(self.state.losses) / len(self.state.losses))
                self.state.losses = []
            if self.work is not None and (due or now - saved >= self.checkpoint_seconds):
                self._save(self.work)
                saved = time.perf_counter()
        return self.state

    def _step(self) -> float:
        state = self.state
        numbers: list[int] = self.order[state.step].tolist()
        set_modes_(self.student, self.frozen)
        with preserved_random_state(hash((self.seed, state.step)) % 2**63):
            inputs = self.loaded.inputs(self.pictures.inputs(numbers))
            if inputs.device.type == "cpu":  # as the student's weights are
                inputs = inputs.contiguous(memory_format=torch.channels_last)
            if self.answers is not None:
                self.teacher.answers = self.answers[numbers].to(inputs.device, inputs.dtype)
            loss: Tensor = self.task(inputs, self.pictures.labels(numbers).to(inputs.device))["loss"]
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        value = loss.item()
        if not math.isfinite(value):
            lower = wording("lr=", "--lr")
            raise TrainingError(
                f"the loss is no finite number after {state.step * self.recipe.batch:,} images: the learning rate "
                f"{self.recipe.lr:g} is too high, or the weights were damaged before; try a lower one ({lower})"
            )
        state.step += 1
        state.losses.append(value)
        self.schedule(state.step)
        return value

    def _evaluation_due(self) -> bool:
        """At ``evaluations`` points that are spread evenly over the steps; the last step is one."""
        done, each = self.state.step, self.recipe.evaluations
        return done == self.steps or done * each // self.steps > (done - 1) * each // self.steps

    def _note(self, loss: float | None) -> None:
        top1 = self.measure()
        state = self.state
        state.measured.append(Measured(state.step * self.recipe.batch, loss, top1))
        if top1 is not None and state.step and (state.best_top1 is None or top1 > state.best_top1):
            state.best_top1 = top1
            state.best = {name: tensor.detach().cpu().clone() for name, tensor in self.student.state_dict().items()}

    def _status(self, loss: float) -> str:
        top1 = self.state.measured[-1].top1
        return f"loss {loss:.3f}" + (f", {top1:.1%}" if top1 is not None else "")

    def _save(self, work: WorkDirectory) -> None:
        own = {name: tensor for name, tensor in self.task.state_dict().items() if not name.startswith("teacher.")}
        work.save({"task": own, "optimizer": self.optimizer.state_dict(), "state": self.state.to_plain()})

    def _restore(self) -> None:
        found = self.work.load() if self.work is not None else None
        if found is None:
            return
        self.task.load_state_dict(found["task"], strict=False)
        self.optimizer.load_state_dict(found["optimizer"])
        self.state = State.of_plain(found["state"])
        self.schedule(self.state.step)


def _optimizer_of(
    trained: nn.Module, recipe: Recipe, steps: int
) -> tuple[torch.optim.Optimizer, Callable[[int], object]]:
    """The optimizer, and what sets its learning rate after a number of steps."""
    from timm.optim import create_optimizer_v2, list_optimizers
    from timm.scheduler import create_scheduler_v2

    known = list_optimizers(exclude_filters=["lookahead*"])
    if recipe.optimizer not in known:
        raise TrainingError(
            f"unknown optimizer '{excerpt(recipe.optimizer)}': timm knows adam, adamw, sgd and others"
            f"{nearest(recipe.optimizer, known)}"
        )
    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        trained, opt=recipe.optimizer, lr=recipe.lr, weight_decay=recipe.weight_decay
    )
    constant = recipe.schedule == "constant" or steps < 2
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched="step" if constant else "cosine",
        decay_rate=1.0 if constant else 0.1,
        num_epochs=1,
        warmup_epochs=recipe.warmup,
        warmup_lr=recipe.lr / 100,
        step_on_epochs=False,
        updates_per_epoch=steps,
    )
    return optimizer, scheduler.step_update
