"""What happens to a training picture before the model sees it: on whole batches, or by timm picture by picture."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from kswap.codec import Between
from kswap.errors import TrainingError

if TYPE_CHECKING:
    from kswap.data.preprocessing import Preprocessing

Share = Annotated[float, Between(0, 1)]


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training pictures.

    The first six are done to whole batches, on the device of the model and after the pictures have its input size.
    ``rotation``, ``shift``, ``shear`` and ``zoom`` are those of Keras's ``ImageDataGenerator``: bilinear, and what lies
    outside the picture is its nearest pixel. ``crop_least``, ``policy`` and ``erase`` are timm's, done to each picture
    for itself, and exclude those.

    Args:
        rotation: At most so many degrees, to either side.
        shift: At most this share of height and width.
        shear: At most so many degrees.
        zoom: Height and width are scaled by factors of their own between ``1 - zoom`` and ``1 + zoom``.
        channel_shift: At most this is added to all colours of a picture, within its own range; 1 is white.
        padding: Reflected pixels around the picture, of which a part of the input size is taken at random.
        flip: ``"random"``: mirrored in half of the cases; ``"alternate"``: at random in the first epoch, and then
            in every other epoch, so that two epochs show both sides of each picture (as airbench does, Jordan 2024).
        vertical_flip: Whether pictures are turned upside down at random.
        crop_least: The smallest share of the area that a random crop takes (Inception's crops); 1 crops nothing.
        policy: timm's name of an augmentation policy, such as ``"rand-m6-mstd0.5-inc1"``.
        erase: The probability that a part of the picture is erased (Zhong et al. 2017).
    """

    rotation: Annotated[float, Between(0, 180)] = 0.0
    shift: Share = 0.0
    shear: Annotated[float, Between(0, 89)] = 0.0
    zoom: Annotated[float, Between(0, 0.99)] = 0.0
    channel_shift: Share = 0.0
    padding: Annotated[int, Between(0, 1024)] = 0
    flip: Literal["none", "random", "alternate"] = "none"
    vertical_flip: bool = False
    crop_least: Annotated[float, Between(0.01, 1)] = 1.0
    policy: str = ""
    erase: Share = 0.0

    def __post_init__(self) -> None:
        moves = self.rotation or self.shift or self.shear or self.zoom
        if self.per_picture and (moves or self.channel_shift or self.padding or self.flip == "alternate"):
            raise TrainingError(
                "the augmentation mixes what is done to whole batches (rotation, shift, shear, zoom, channel_shift, "
                "padding, alternating flips) with what timm does to each picture (crop_least, policy, erase): "
                "leave one of them out"
            )

    @property
    def per_picture(self) -> bool:
        """Whether pictures are augmented one by one, by timm."""
        return self.crop_least < 1 or bool(self.policy) or self.erase > 0

    def transform(self, preprocessing: Preprocessing) -> Callable[[Any], Tensor]:
        """From a picture to an input, augmented by timm. Raises :class:`TrainingError` for an unknown policy."""
        from timm.data import create_transform

        from kswap.data.resizing import TIMM_INTERPOLATION

        try:
            made: Callable[[Any], Tensor] = create_transform(
                preprocessing.input_size,
                is_training=True,
                scale=(self.crop_least, 1.0),
                hflip=0.0 if self.flip == "none" else 0.5,
                vflip=0.5 if self.vertical_flip else 0.0,
                color_jitter=None,
                auto_augment=self.policy or None,
                interpolation=TIMM_INTERPOLATION[preprocessing.resize],
                mean=preprocessing.mean,
                std=preprocessing.std,
                re_prob=self.erase,
                re_mode="pixel",
            )
        except (AssertionError, ValueError, KeyError) as error:
            raise TrainingError(f"timm knows no augmentation policy '{self.policy:.80}': see timm.data") from error
        return made


class BatchAugmentation:
    """The augmentation of whole batches.

    Numbers are drawn for the batch of all processes, so that each of them can take its part.

    Args:
        settings: What is done.
        count: How many training pictures there are.
        seed: Which of them are mirrored in the first epoch, where flips alternate.
    """

    def __init__(self, settings: Augmentation, count: int, seed: int) -> None:
        self._settings = settings
        self._mirrored_first = torch.rand(count, generator=torch.Generator().manual_seed(seed)) < 0.5

    def __call__(self, images: Tensor, numbers: Tensor, epochs: Tensor, rows: slice) -> Tensor:
        """The rows ``rows`` of a batch, augmented; random numbers come from torch's global generator of the CPU.

        Args:
            images: float32, between 0 and 1, ``(rows, channels, height, width)``.
            numbers: The numbers of the pictures of the whole batch, ``(batch)``.
            epochs: The epoch that each of them is in, ``(batch)``.
            rows: Which of the batch ``images`` are.
        """
        asked, count = self._settings, len(numbers)
        if asked.rotation or asked.shift or asked.shear or asked.zoom:
            images = _moved(images, self._maps(count)[rows])
        if asked.channel_shift:
            shifts = (torch.rand(count, 1, 1, 1) * 2 - 1) * asked.channel_shift
            least, most = images.amin((1, 2, 3), True), images.amax((1, 2, 3), True)
            images = (images + shifts[rows].to(images.device)).clamp(least, most)
        if asked.padding:
            images = _cropped(images, asked.padding, torch.randint(2 * asked.padding + 1, (count, 2))[rows])
        mirrored = self._mirrored(numbers, epochs)
        if mirrored is not None:
            images = _flipped(images, mirrored[rows], -1)
        if asked.vertical_flip:
            images = _flipped(images, (torch.rand(count) < 0.5)[rows], -2)
        return images

    def _mirrored(self, numbers: Tensor, epochs: Tensor) -> Tensor | None:
        if self._settings.flip == "none":
            return None
        if self._settings.flip == "random":
            return torch.rand(len(numbers)) < 0.5
        return self._mirrored_first[numbers] ^ (epochs % 2 == 1)

    def _maps(self, count: int) -> Tensor:
        """From a place in the augmented picture to one in the picture: ``(count, 2, 3)``, sides go from -1 to 1.

        As Keras has it: rotation, then shift, shear and zoom, about the centre of the picture.
        """
        asked = self._settings
        drawn = torch.rand(count, 6) * 2 - 1
        angle, shear = drawn[:, 0] * math.radians(asked.rotation), drawn[:, 1] * math.radians(asked.shear)
        down, across = 2 * asked.shift * drawn[:, 2], 2 * asked.shift * drawn[:, 3]
        high, wide = 1 + asked.zoom * drawn[:, 4], 1 + asked.zoom * drawn[:, 5]
        cos, sin = angle.cos(), angle.sin()
        # Rotation x shift x shear x zoom, on (row, column, 1).
        row = (cos * high, -(cos * shear.sin() + sin * shear.cos()) * wide, cos * down - sin * across)
        column = (sin * high, (cos * shear.cos() - sin * shear.sin()) * wide, sin * down + cos * across)
        return torch.stack([column[1], column[0], column[2], row[1], row[0], row[2]], 1).view(count, 2, 3)


def _moved(images: Tensor, maps: Tensor) -> Tensor:
    """Each picture seen through its map; what lies outside is the nearest pixel."""
    ratio = images.shape[-1] / images.shape[-2]
    scaled = maps.clone()  # angles are those of pixels, not of sides
    scaled[:, 0, 1] /= ratio
    scaled[:, 1, 0] *= ratio
    grid = functional.affine_grid(scaled.to(images.device), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _cropped(images: Tensor, padding: int, corners: Tensor) -> Tensor:
    """A part of the size of ``images`` of each, after reflection around it; ``corners``, ``(N, 2)``: top and left."""
    count, _, height, width = images.shape
    mode = "reflect" if padding < min(height, width) else "replicate"
    padded = functional.pad(images, (padding,) * 4, mode=mode)
    down = (corners[:, :1] + torch.arange(height)).to(images.device)
    right = (corners[:, 1:] + torch.arange(width)).to(images.device)
    rows = torch.arange(count, device=images.device).view(-1, 1, 1)
    # Indexed in the middle, the channels come last.
    return padded.movedim(1, -1)[rows, down[:, :, None], right[:, None, :]].movedim(-1, 1)


def _flipped(images: Tensor, which: Tensor, dimension: int) -> Tensor:
    return torch.where(which.to(images.device).view(-1, 1, 1, 1), images.flip(dimension), images)
