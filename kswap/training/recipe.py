"""Recipes of supervised training: TOML files that come with kswap or that a user writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from kswap.codec import Between
from kswap.errors import TrainingError
from kswap.training.augmentation import Augmentation
from kswap.training.recipe_files import RecipeFiles

Share = Annotated[float, Between(0, 1)]


@dataclass(frozen=True)
class Schedule:
    """The learning rate over a run, as a share of the recipe's ``lr``.

    Args:
        name: ``"cosine"``: to 0 at the end; ``"constant"``; ``"step"``: times ``decay`` after each ``period`` epochs;
            ``"cycle"``: in each ``period`` epochs it rises by ``rise`` an epoch for ``rise_epochs`` epochs, and then
            falls by the factor ``decay`` an epoch, as in the papers; ``"triangle"``: a line from ``start`` up to 1
            after the share ``peak`` of the run, and one down to ``end``.
        warmup: The share of the run in which the learning rate rises linearly; for cosine and constant.
        least: The learning rate never falls below this; for cycle and step.
    """

    name: Literal["cosine", "constant", "step", "cycle", "triangle"] = "cosine"
    warmup: Annotated[float, Between(0, 0.9)] = 0.0
    period: Annotated[int, Between(1, 100_000)] = 1
    decay: Annotated[float, Between(1e-6, 1)] = 1.0
    rise: Annotated[float, Between(0, 1000)] = 0.0
    rise_epochs: Annotated[int, Between(1, 100_000)] = 1
    least: Annotated[float, Between(0, 100)] = 0.0
    start: Annotated[float, Between(0, 1)] = 0.2
    peak: Annotated[float, Between(0.001, 0.999)] = 0.23
    end: Annotated[float, Between(0, 1)] = 0.07


@dataclass(frozen=True)
class TrainingRecipe:
    """How a model is trained on labelled pictures.

    Args:
        description: One line for people.
        epochs: Passes over the training pictures, unless the caller says otherwise.
        batch: Images per step, of all processes together.
        optimizer: A name of ``timm.optim``.
        optimizer_options: What it is called with beside learning rate and weight decay, such as ``momentum``.
        lr: The learning rate that the schedule changes.
        structured_lr: The learning rate of the layers of blocks, as a multiple of ``lr``: what suits a dense layer need
            not suit a structured one.
        weight_decay: Of weights; not of biases and norms.
        schedule: The learning rate over the run.
        augment: Random changes of the pictures.
        label_smoothing: How much of the label is spread over all classes.
        mixup: The parameter of mixup's distribution (Zhang et al. 2018); 0 mixes nothing.
        cutmix: The same of CutMix (Yun et al. 2019).
        clip_grad: The greatest norm of the gradient; 0 clips nothing.
        ema: The decay of a moving average of the weights, which is what is measured and kept; 0 takes none.
        norms: ``"trained"``, or ``"frozen"``: batch norms keep their statistics, scale and shift are trained.
        preprocessing: How pictures become inputs: ``"model"``: as the model states; ``"papers"``: divided by 255;
            ``"imagenet"``: mean and deviation of ImageNet.
        resize: The interpolation, where it is not the model's; ``"nearest"`` repeats pixels, as the papers do.
        crop: The share of the resized side that the input keeps, where it is not the model's.
        keep: ``"best"``: the weights that were the best on the validation pictures; ``"last"``: those of the end.
        best_by: What is best: the greatest accuracy or the least loss.
        held_out: The share of the training pictures that is for validation where the data has no such split. Where
            the last weights are kept, nothing is chosen by a test split, and it is measured on the way instead.
        evaluations: How often validation pictures are measured in an epoch; below 1 not in each.
    """

    description: str = ""
    epochs: Annotated[float, Between(1e-6, 1e6)] = 10.0
    batch: Annotated[int, Between(1, 2**16)] = 128
    optimizer: str = "sgd"
    optimizer_options: Mapping[str, Any] = field(default_factory=dict)
    lr: Annotated[float, Between(1e-9, 100)] = 0.05
    structured_lr: Annotated[float, Between(1e-3, 1000)] = 1.0
    weight_decay: Annotated[float, Between(0, 10)] = 0.0
    schedule: Schedule = field(default_factory=Schedule)
    augment: Augmentation = field(default_factory=Augmentation)
    label_smoothing: Annotated[float, Between(0, 0.99)] = 0.0
    mixup: Annotated[float, Between(0, 100)] = 0.0
    cutmix: Annotated[float, Between(0, 100)] = 0.0
    clip_grad: Annotated[float, Between(0, 1e6)] = 0.0
    ema: Annotated[float, Between(0, 0.999999)] = 0.0
    norms: Literal["trained", "frozen"] = "trained"
    preprocessing: Literal["model", "papers", "imagenet"] = "model"
    resize: Literal["", "cubic", "linear", "nearest", "lanczos"] = ""
    crop: Share = 0.0
    keep: Literal["best", "last"] = "best"
    best_by: Literal["accuracy", "loss"] = "accuracy"
    held_out: Annotated[float, Between(0, 0.9)] = 0.1
    evaluations: Annotated[float, Between(0.001, 1000)] = 1.0

    def __post_init__(self) -> None:
        if (self.mixup or self.cutmix) and self.batch % 2:
            raise TrainingError(f"mixup mixes pairs of pictures: the batch must be even, not {self.batch}")


_FILES = RecipeFiles(TrainingRecipe, Path(__file__).parent / "recipes")


def training_recipes() -> tuple[str, ...]:
    """The names of the recipes that come with kswap.

    >>> training_recipes()
    ('modern', 'papers', 'papers-180-epochs', 'papers-2021', 'papers-histology', 'papers-leaves', 'quick')
    """
    return _FILES.names()


def load_training_recipe(spec: str | Path | Mapping[str, Any] | TrainingRecipe, **changes: Any) -> TrainingRecipe:
    """The recipe that ``spec`` means, with some of its values changed; a change to ``None`` is none.

    A text with a path separator or the ending ``.toml`` is a file, any other text the name of a recipe that comes with
    kswap; a mapping has the keys of the TOML file.

    Raises:
        TrainingError: There is no such recipe, or it says something that kswap does not know.

    >>> load_training_recipe("papers").batch, load_training_recipe("papers", batch=32).batch
    (64, 32)
    """
    return _FILES.load(spec, changes)
