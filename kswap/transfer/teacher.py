"""The two models of a distillation as the tasks of timm call them, and the teacher's answers kept for later."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from kswap.analysis.loaded_model import LoadedModel, logits_of
from kswap.data.prepared import PreparedPictures
from kswap.data.preprocessing import Preprocessing
from kswap.errors import TrainingError, first_line
from kswap.files import replace_file
from kswap.graph.modes import evaluating
from kswap.progress import progress_bar
from kswap.training import classifier as training
from kswap.transfer.recipe import Recipe

# Answers that take more are computed again in each step.
_MOST_BYTES = 2**30


class Classifier(training.Classifier):
    """A classifier that states how its inputs are normalised, and whose features can be asked for."""

    def __init__(self, model: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__(model)
        self.pretrained_cfg = {"mean": preprocessing.mean, "std": preprocessing.std}
        self.num_features = getattr(model, "head_hidden_size", None) or getattr(model, "num_features", None)

    def forward_features(self, x: Tensor) -> Any:
        return _part(self.model, "forward_features")(x)

    def forward_head(self, x: Any, pre_logits: bool = False) -> Tensor:
        head = _part(self.model, "forward_head")
        if pre_logits:
            features: Tensor = head(x, pre_logits=True)
            return features
        return logits_of(head(x))


class Teacher(Classifier):
    """A teacher that gives the answers in ``answers``, where there are any, instead of computing them."""

    answers: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if self.answers is None else self.answers

    def forward_features(self, x: Tensor) -> Any:
        return super().forward_features(x) if self.answers is None else self.answers

    def forward_head(self, x: Any, pre_logits: bool = False) -> Tensor:
        return super().forward_head(x, pre_logits) if self.answers is None else self.answers

    def answer(self, x: Tensor, loss: str) -> Tensor:
        """What the student shall learn for ``x``: logits, or what the classifier reads."""
        return self(x) if loss == "logits" else self.forward_head(self.forward_features(x), pre_logits=True)


def kept_answers(
    teacher: Teacher,
    loaded: LoadedModel,
    pictures: PreparedPictures,
    numbers: Sequence[int],
    loss: str,
    batch: int,
    path: Path | None,
    key: str,
    shown: bool,
) -> Tensor | None:
    """The teacher's answers to the pictures ``numbers``, on the CPU; rows of other pictures are 0.

    Computed in batches of a fixed order, so that they are the same again after an interruption; read from ``path``
    where the file there was written for the same ``key``, and written there otherwise. ``None`` where they would take
    too much memory.
    """
    count = len(pictures)
    if path is not None and (found := _read(path, key)) is not None:
        return found
    answers: Tensor | None = None
    with evaluating(teacher), progress_bar("asking the teacher", len(numbers), shown=shown) as bar:
        for start in range(0, len(numbers), batch):
            part = list(numbers[start : start + batch])
            with torch.inference_mode():
                inputs = loaded.inputs(loaded.preprocessing.normalized(pictures.pixels(part)))
                given = teacher.answer(inputs, loss).float().cpu()
            if answers is None:
                if count * given[0].numel() * 4 > _MOST_BYTES:
                    return None
                answers = torch.zeros(count, *given.shape[1:])
            answers[part] = given.clone()
            bar.advance(len(part))
    if path is not None and answers is not None:
        replace_file(path, save({"answers": answers}, metadata={"key": key}))
    return answers


def _read(path: Path, key: str) -> Tensor | None:
    """The answers in a file that was written for ``key``; ``None`` where there is none."""
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("key") != key:
                return None
            found: Tensor = file.get_tensor("answers")
            return found
    except (OSError, SafetensorError):  # no file yet, or a damaged one: the teacher answers again
        return None


def _part(model: nn.Module, name: str) -> Any:
    found = getattr(model, name, None)
    if found is None:
        raise TrainingError(
            f"a {type(model).__name__} has no {name}, which distillation of features needs: use the loss on logits"
        )
    return found


def distillation_task(recipe: Recipe, student: Classifier, teacher: Teacher, device: torch.device) -> nn.Module:
    """The task of ``timm.task`` that the recipe asks for.

    Raises:
        TrainingError: timm is too old to have it, or the models are not for it.
    """
    try:
        from timm.task import DistillationTeacher, FeatureDistillationTask, LogitDistillationTask

        wrapped = DistillationTeacher(teacher, device=device)
    except (ImportError, TypeError) as error:
        raise TrainingError("distillation needs timm 1.0.25 or newer: pip install 'kswap[train]'") from error
    criterion = nn.CrossEntropyLoss() if recipe.label_weight else _NoLoss()
    weights = {"distill_loss_weight": 1.0, "task_loss_weight": recipe.label_weight}
    common = {"criterion": criterion, **weights, "device": device, "verbose": False}
    if recipe.loss == "logits":
        task: nn.Module = LogitDistillationTask(student, wrapped, temperature=recipe.temperature, **common)
        return task
    for model in (student, teacher):
        for name in ("forward_features", "forward_head"):
            _part(model.model, name)
    try:
        task = FeatureDistillationTask(student, wrapped, **common)
    except (ValueError, TypeError) as error:
        raise TrainingError(
            f"features cannot be distilled here: {first_line(error)}; use the loss on logits"
        ) from error
    return task


class _NoLoss(nn.Module):
    """Stands for the loss on labels where there are none."""

    def forward(self, logits: Tensor, _labels: Tensor) -> Tensor:
        return logits.new_zeros(())
