"""The pictures that accuracy is measured on, where there are labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kswap.data.images import ImageSet
from kswap.data.unlabelled import UnlabelledImageSet
from kswap.errors import DataError

# Names that data sets give to the split that is not for training, the first that is there first.
HELD_OUT = ("val", "valid", "validation", "test")


@dataclass(frozen=True)
class Examined:
    """Labelled pictures; ``held_out`` is whether the student is not trained on them."""

    images: ImageSet
    held_out: bool

    @property
    def title(self) -> str:
        """What reports call them."""
        split = f", split {self.images.split}" if self.images.split else ""
        return f"{self.images.path}{split}" + ("" if self.held_out else " (training pictures)")


def labelled(images: UnlabelledImageSet) -> ImageSet | None:
    """The same pictures with labels, where they lie in class folders."""
    try:
        found = ImageSet(images.path, images.split)
    except DataError:
        return None
    return found if found.names == images.names and len(found.classes) > 1 else None


def examined(
    images: UnlabelledImageSet, eval_data: str | Path | None, eval_split: str | None, classes: int
) -> Examined | None:
    """The pictures to measure accuracy on: those asked for; else the held-out split of the training data; else its
    training pictures themselves, where they lie in as many class folders as the model has classes.

    Raises:
        DataError: Those asked for cannot be read, or have another number of classes than the model.
    """
    if eval_data is not None or eval_split is not None:
        asked = ImageSet(eval_data if eval_data is not None else images.path, eval_split)
        if len(asked.classes) != classes:
            raise DataError(
                f"the model has {classes} classes and {asked.path} has {len(asked.classes)}: "
                f"pass pictures of the classes that the model was trained for"
            )
        return Examined(asked, (asked.path, asked.split) != (images.path, images.split))
    own = labelled(images)
    if own is None or len(own.classes) != classes:
        return None
    held = next((name for name in HELD_OUT if name in own.splits and name != images.split), None)
    return Examined(own, False) if held is None else Examined(ImageSet(images.path, held), True)
