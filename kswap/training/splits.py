"""Which pictures are for training, which for validation on the way, and which for the measurement at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kswap.data.held_out import hold_out
from kswap.data.joined import JoinedImages
from kswap.data.opening import Data, image_set, picture_set
from kswap.data.picture_set import LabelledPictures, PictureSet
from kswap.data.splits import training_split
from kswap.errors import DataError, TrainingError, wording
from kswap.training.recipe import TrainingRecipe

_VALIDATION = ("val", "valid", "validation")
_TEST = "test"
# Which pictures are held out is the same for all seeds of a study.
_HELD_OUT_SEED = 0


@dataclass(frozen=True)
class Splits:
    """Labelled pictures of the same classes.

    Args:
        train: What the model learns from.
        validation: What is measured on the way, and what the best weights are chosen by; ``None`` for nothing.
        test: What is measured once at the end; ``None`` where that is ``validation``.
    """

    train: LabelledPictures
    validation: LabelledPictures | None
    test: LabelledPictures | None

    def __post_init__(self) -> None:
        for other in (self.validation, self.test):
            if other is not None and other.classes != self.train.classes:
                raise DataError(
                    f"{title_of(other)} has other classes than {title_of(self.train)}: pass pictures of the same ones"
                )


def title_of(images: LabelledPictures) -> str:
    """What reports call some pictures."""
    return f"{images.source}, split {images.split}" if images.split else images.source


def splits_of(
    data: Data,
    recipe: TrainingRecipe,
    *,
    split: str | None = None,
    eval_data: Data | None = None,
    eval_split: str | None = None,
    test_data: Data | None = None,
    test_split: str | None = None,
    data_dir: str | Path | None = None,
) -> Splits:
    """The pictures that are asked for; see :func:`kswap.train`.

    Raises:
        DataError: Some cannot be read, or have other classes.
        TrainingError: There is nothing to choose the best weights by.
    """
    parts = _parts_of(data, split, data_dir)
    names = tuple(dict.fromkeys(name for part in parts for name in part.splits))
    source = ", ".join(part.source for part in parts)
    train = _training_of(parts, data, split)
    chosen = train.split
    test = _asked(parts, test_data, test_split, data_dir)
    if test is None and _TEST in names and chosen != _TEST:
        test = _split_of(parts, _TEST)
    validation = _asked(parts, eval_data, eval_split, data_dir)
    if validation is None:
        found = next((name for name in _VALIDATION if name in names and name != chosen), None)
        if found is not None:
            validation = _split_of(parts, found)
        elif recipe.keep == "last" and test is not None:
            validation, test = test, None  # nothing is chosen by it
        elif recipe.held_out:
            train, validation = hold_out(train, recipe.held_out, _HELD_OUT_SEED)
        elif recipe.keep == "best":
            raise TrainingError(
                f"{source} has no pictures for validation to choose the best weights by: set held_out in the recipe, "
                f"pass {wording('eval_data=', '--eval-data')}, or keep the last ({wording('keep=', '--keep')})"
            )
    return Splits(train, validation, test)


def training_pictures(data: Data, split: str | None = None, data_dir: str | Path | None = None) -> LabelledPictures:
    """The pictures to train on, those that a recipe holds out included. Raises :class:`kswap.errors.DataError`."""
    return _training_of(_parts_of(data, split, data_dir), data, split)


def _training_of(parts: Sequence[LabelledPictures], data: Data, split: str | None) -> LabelledPictures:
    if isinstance(data, PictureSet) and split is None:  # open already, and perhaps a part of a split
        return parts[0]
    names = tuple(dict.fromkeys(name for part in parts for name in part.splits))
    return _split_of(parts, training_split(", ".join(part.source for part in parts), names, split))


def _parts_of(data: Data, split: str | None, data_dir: str | Path | None) -> list[LabelledPictures]:
    """The data, part by part, with labels; several zips may hold several splits together."""
    several = (data,) if isinstance(data, str | Path | PictureSet) else data
    parts: list[LabelledPictures] = []
    for part in several:
        opened: PictureSet = picture_set(part, None, data_dir)
        found = opened.labelled()
        parts.append(image_set(part, split, data_dir) if found is None else found)
    if not parts:
        return [image_set([], split)]  # which says what is wrong
    whole = next((part for part in parts if not part.splits), None)
    if whole is not None and any(part.splits for part in parts):
        raise DataError(
            f"{whole.source} has no splits, and other data beside it has: pass together only what forms one data set"
        )
    return parts


def _split_of(parts: Sequence[LabelledPictures], name: str | None) -> LabelledPictures:
    chosen = [part if part.split == name else part.with_split(name) for part in parts if name in (*part.splits, None)]
    return chosen[0] if len(chosen) == 1 else JoinedImages(chosen)


def _asked(
    parts: Sequence[LabelledPictures], data: Data | None, split: str | None, data_dir: str | Path | None
) -> LabelledPictures | None:
    if data is not None:
        return image_set(data, split, data_dir)
    if split is None:
        return None
    names = [name for part in parts for name in part.splits]
    return _split_of(parts, split) if split in names else parts[0].with_split(split)  # which says what there is
