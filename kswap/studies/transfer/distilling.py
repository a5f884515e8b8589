"""Distillation of any module: the loop of :func:`kswap.distill`, for networks that are no conversions as well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from kswap.graph.random_state import preserved_random_state
from kswap.nn import PointwiseBlock
from kswap.progress import progress_bar
from kswap.studies.transfer.student import Student
from kswap.studies.transfer.subject import Subject
from kswap.training.loop import order_of
from kswap.training.optimize import optimize_for_training
from kswap.training.state import Measured
from kswap.training.work import WorkDirectory
from kswap.transfer.recipe import Recipe
from kswap.transfer.teacher import Classifier, distillation_task
from kswap.transfer.training import Pictures, distillation_loop


def distil_(
    student: Student,
    subject: Subject,
    recipe: Recipe,
    seed: int,
    numbers: Tensor | None = None,
    measure: Callable[[int], float | None] = lambda images: None,
    work: Path | None = None,
) -> tuple[Measured, ...]:
    """Train ``student`` in place on the training pictures, or on those with these numbers.

    ``measure`` is asked for the accuracy at the recipe's evaluations, and is told how many images were seen. With
    ``work``, a directory, a run that was stopped continues. Returns all that was measured.
    """
    chosen = torch.arange(len(subject.train)) if numbers is None else numbers
    steps = -(-recipe.images // recipe.batch)
    order = chosen[order_of(len(chosen), steps, recipe.batch, seed)]
    student.model.to(memory_format=torch.channels_last)  # trains a third quicker on a CPU
    has_blocks = any(isinstance(module, PointwiseBlock) for module in student.model.modules())
    quick = optimize_for_training(student.model, autotune=False) if has_blocks else student.model
    classifier = Classifier(quick, subject.preprocessing)
    with preserved_random_state(seed):
        task = distillation_task(recipe, classifier, subject.teacher, torch.device("cpu"))
    loop = distillation_loop(
        task,
        classifier,
        subject.loaded(student.model),
        subject.teacher,
        subject.answers,
        Pictures(subject.train, recipe),
        recipe,
        order,
        seed,
        student.frozen_norms,
        lambda: measure(loop.state.step * recipe.batch),
        directory := None if work is None else WorkDirectory(work, {"recipe": asdict(recipe), "seed": seed}),
    )
    with progress_bar("distilling", steps) as bar:
        if directory is None:
            state = loop.run(bar)
        else:
            with directory.opened(resume=True):
                state = loop.run(bar)
            directory.remove()
    student.model.to(memory_format=torch.contiguous_format).eval()
    return tuple(state.measured)


def divergence(logits: Tensor, answers: Tensor, temperature: float) -> float:
    """The Kullback-Leibler divergence at a temperature, times its square: the loss of the recipe on logits."""
    wanted = functional.log_softmax(answers / temperature, 1)
    found = functional.log_softmax(logits / temperature, 1)
    return float(functional.kl_div(found, wanted, reduction="batchmean", log_target=True)) * temperature**2
