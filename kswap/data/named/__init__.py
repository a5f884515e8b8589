"""Public data sets by name: ``KIND:NAME``, one file a kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kswap.data.named.hugging_face import hugging_face_images
from kswap.data.named.torchvision_sets import torchvision_images
from kswap.data.picture_set import LabelledPictures
from kswap.data.splits import ChooseSplit

# From a name, the choice among the splits that there are, and where downloads are kept, to the pictures.
OpenNamed = Callable[[str, ChooseSplit, Path | None], LabelledPictures]

NAMED: dict[str, OpenNamed] = {
    "torchvision": torchvision_images,
    "hf-datasets": hugging_face_images,
}
