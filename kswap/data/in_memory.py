"""All pictures of a set as one tensor, decoded once: what small pictures are trained from."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from kswap.data.picture_set import PictureSet
from kswap.data.prepared import MOST_BYTES
from kswap.data.preprocessing import Preprocessing
from kswap.errors import DataError
from kswap.progress import progress_bar


def pixels_in_memory(
    images: PictureSet, preprocessing: Preprocessing, most_bytes: int = MOST_BYTES, shown: bool = True
) -> Tensor | None:
    """What the model sees of every picture, before mean and deviation, in the order of the set.

    Args:
        images: The pictures, with labels or without.
        preprocessing: Their size and cut; :meth:`Preprocessing.normalized` makes inputs of what is returned.
        most_bytes: The most bytes that the tensor may take.
        shown: Whether to show a bar, where there is a terminal.

    Returns:
        uint8, ``(N, channels, height, width)``; ``None`` where that does not fit, and nothing is decoded then.

    Raises:
        DataError: A picture cannot be read, or does not fit the model.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from kswap.data.unlabelled import UnlabelledImageSet
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.effect_noise((40, 40), 50).save(Path(folder) / "1.png")
    ...     images = UnlabelledImageSet(folder)
    ...     pixels = pixels_in_memory(images, Preprocessing((3, 32, 32)))
    >>> pixels.shape, pixels.dtype, pixels_in_memory(images, Preprocessing((3, 32, 32)), most_bytes=3000)
    (torch.Size([1, 3, 32, 32]), torch.uint8, None)
    """
    size = preprocessing.input_size
    if len(images) * math.prod(size) > most_bytes:
        return None
    pixels = torch.empty((len(images), *size), dtype=torch.uint8)
    with progress_bar("reading pictures", len(images), shown=shown) as bar:
        for number in range(len(images)):
            try:
                pixels[number] = _pixels(images.picture(number), preprocessing)
            except DataError as error:
                title = images.title(number)
                raise error if title in str(error) else DataError(f"{title}: {error}") from error
            bar.advance()
    return pixels


def _pixels(picture: Image, preprocessing: Preprocessing) -> Tensor:
    """``preprocessing.pixels(picture)``; as they are where nothing is resized or cropped, which is much quicker."""
    channels, height, width = preprocessing.input_size
    if picture.size != (width, height) or preprocessing.crop < 1:
        return preprocessing.pixels(picture)
    values = torch.from_numpy(np.array(picture.convert(preprocessing.mode)))
    return values.view(height, width, channels).permute(2, 0, 1)
