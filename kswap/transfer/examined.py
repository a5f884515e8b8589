"""The pictures that accuracy is measured on, where there are labels."""

from __future__ import annotations

from dataclasses import dataclass

from kswap.data.opening import Data, image_set
from kswap.data.picture_set import LabelledPictures, PictureSet
from kswap.errors import DataError

# Names that data sets give to the split that is not for training, the first that is there first.
HELD_OUT = ("val", "valid", "validation", "test")


@dataclass(frozen=True)
class Examined:
    """Labelled pictures; ``held_out`` is whether the student is not trained on them."""

    images: LabelledPictures
    held_out: bool

    @property
    def title(self) -> str:
        """What reports call them."""
        split = f", split {self.images.split}" if self.images.split else ""
        return f"{self.images.source}{split}" + ("" if self.held_out else " (training pictures)")


def examined(images: PictureSet, eval_data: Data | None, eval_split: str | None, classes: int) -> Examined | None:
    """The pictures to measure accuracy on: those asked for; else the held-out split of the training data; else its
    training pictures themselves, where they lie in as many class folders as the model has classes.

    Raises:
        DataError: Those asked for cannot be read, or have another number of classes than the model.
    """
    if eval_data is not None or eval_split is not None:
        asked = images.with_split(eval_split) if eval_data is None else image_set(eval_data, eval_split)
        if len(asked.classes) != classes:
            raise DataError(
                f"the model has {classes} classes and {asked.source} has {len(asked.classes)}: "
                f"pass pictures of the classes that the model was trained for"
            )
        return Examined(asked, (asked.source, asked.split) != (images.source, images.split))
    own = images.labelled()
    if own is None or len(own.classes) != classes:
        return None
    held = next((name for name in HELD_OUT if name in own.splits and name != images.split), None)
    return Examined(own, False) if held is None else Examined(images.with_split(held), True)
