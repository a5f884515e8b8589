"""Recipes of distillation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from kswap.codec import Between
from kswap.training.recipe_files import RecipeFiles


@dataclass(frozen=True)
class Recipe:
    """How a model is distilled from a teacher.

    Args:
        description: One line for people.
        loss: ``"logits"``: the Kullback-Leibler divergence from the teacher's probabilities to the student's (Hinton,
            Vinyals and Dean 2015); ``"features"``: the mean squared error of what the classifier reads.
        temperature: What both models' logits are divided by before the softmax.
        label_weight: The weight of the cross-entropy on labels beside the loss above, whose weight is 1.
        optimizer: A name of ``timm.optim``.
        lr: The greatest learning rate.
        weight_decay: Of weights; not of biases and norms.
        schedule: ``"cosine"``: from ``lr`` to 0 over the run (SGDR, without restarts); ``"constant"``.
        warmup: The share of the run in which the learning rate rises linearly to ``lr``.
        batch: Images per step.
        images: Images seen in the run, unless the caller says otherwise.
        norms: ``"frozen"``: batch norms keep their statistics, their scale and shift are trained; ``"trained"``;
            ``"auto"``: frozen, unless the model has blocks with fresh weights.
        augment: ``"none"`` or ``"crop-flip"`` (a random part of the picture, mirrored at random).
        crop_least: The smallest share of the picture's area that ``"crop-flip"`` takes.
        evaluations: How often accuracy is measured along the way, at the end included.
    """

    description: str = ""
    loss: Literal["logits", "features"] = "logits"
    temperature: Annotated[float, Between(0.1, 100)] = 2.0
    label_weight: Annotated[float, Between(0, 1000)] = 0.0
    optimizer: str = "adam"
    lr: Annotated[float, Between(1e-9, 100)] = 3e-4
    weight_decay: Annotated[float, Between(0, 10)] = 0.0
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: Annotated[float, Between(0, 0.9)] = 0.02
    batch: Annotated[int, Between(1, 2**16)] = 32
    images: Annotated[int, Between(1, 2**40)] = 12_000
    norms: Literal["auto", "frozen", "trained"] = "auto"
    augment: Literal["none", "crop-flip"] = "none"
    crop_least: Annotated[float, Between(0.01, 1)] = 0.35
    evaluations: Annotated[int, Between(1, 1000)] = 6


_FILES = RecipeFiles(Recipe, Path(__file__).parent / "recipes")


def recipes() -> tuple[str, ...]:
    """The names of the recipes that come with kswap.

    >>> recipes()
    ('distill', 'distill-quick')
    """
    return _FILES.names()


def load_recipe(spec: str | Path | Mapping[str, Any] | Recipe, **changes: Any) -> Recipe:
    """The recipe that ``spec`` means, with some of its values changed; see :meth:`RecipeFiles.load`.

    Raises:
        TrainingError: There is no such recipe, or it says something that kswap does not know.

    >>> load_recipe("distill").images, load_recipe("distill", lr=1e-3, batch=None).lr
    (12000, 0.001)
    >>> load_recipe({"temperatur": 2.0})
    Traceback (most recent call last):
    kswap.errors.TrainingError: the recipe has an unknown key 'temperatur'; did you mean temperature?
    """
    return _FILES.load(spec, changes)
