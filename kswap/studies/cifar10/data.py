"""The pictures of a study, and how networks learn from them."""

from __future__ import annotations

from kswap.data.held_out import hold_out
from kswap.data.picture_set import LabelledPictures
from kswap.studies.cifar10.settings import Settings
from kswap.training.recipe import TrainingRecipe, load_training_recipe
from kswap.training.splits import splits_of


def recipe_of(settings: Settings) -> TrainingRecipe:
    """How every network is trained. Raises :class:`kswap.errors.TrainingError`."""
    return load_training_recipe(settings.recipe, **settings.recipe_changes)


def training_pictures(settings: Settings) -> LabelledPictures:
    """The pictures that networks learn from. Raises :class:`kswap.errors.DataError`."""
    return splits_of(settings.data, recipe_of(settings), split="train", test_split="test").train


def splits_to_choose(settings: Settings) -> tuple[LabelledPictures, LabelledPictures]:
    """Training pictures to learn from while a learning rate is chosen, and those that it is judged by."""
    return hold_out(training_pictures(settings), settings.held_out)
