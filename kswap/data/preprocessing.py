"""How a picture becomes the input of a model: a value that can be printed, compared and replaced."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kswap.data.decoding import MOST_PIXELS
from kswap.data.resizing import CROP_MODES, RESIZES, TIMM_INTERPOLATION
from kswap.errors import DataError, ModelError, nearest
from kswap.sources.inputs import input_size_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL.Image import Image
    from torch import Tensor, nn

_MODES = {1: "L", 3: "RGB"}
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop, divide by 255, subtract ``mean`` and divide by ``std``.

    Args:
        input_size: (channels, height, width) in pixels.
        resize: The interpolation: ``"cubic"``, ``"linear"``, ``"nearest"`` or ``"lanczos"``.
        mean: One number per channel, or one for all.
        std: One number per channel, or one for all.
        crop: The share of the resized side that the input keeps; 1 crops nothing.
        crop_mode: As in timm: ``"center"`` (the shorter side is fitted, the excess is cropped), ``"squash"`` (both
            sides are fitted) or ``"border"`` (the longer side is fitted, the rest is padded).
        origin: Where the values come from, for people.

    Raises:
        ModelError: A value is out of its range.

    >>> print(Preprocessing((3, 224, 224), resize="nearest"))
    224x224 RGB, resized by nearest (pixels repeated), divided by 255 (the papers' way)
    """

    input_size: tuple[int, int, int]
    resize: str = "cubic"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    crop: float = 1.0
    crop_mode: str = "center"
    origin: str = "the papers' way"

    def __post_init__(self) -> None:
        if len(self.input_size) != 3 or min(self.input_size) < 1:
            raise ModelError(f"{self.input_size} is not an input size: it must be (channels, height, width)")
        channels, height, width = self.input_size
        if height * width > MOST_PIXELS:
            raise ModelError(f"{width:,} x {height:,} is too large an input: at most {MOST_PIXELS:,} pixels")
        if channels not in _MODES:
            raise ModelError(f"this model takes {channels} channels: kswap reads pictures of 1 or 3 channels")
        if self.resize not in RESIZES:
            raise ModelError(
                f"unknown resize '{self.resize}': known are {', '.join(RESIZES)}{nearest(self.resize, RESIZES)}"
            )
        if self.crop_mode not in CROP_MODES:
            raise ModelError(f"unknown crop mode '{self.crop_mode}': known are {', '.join(CROP_MODES)}")
        if not 0 < self.crop <= 1:
            raise ModelError(f"crop must be above 0 and at most 1, not {self.crop}")
        object.__setattr__(self, "mean", _per_channel(self.mean or (0.0,), channels, "mean"))
        object.__setattr__(self, "std", _per_channel(self.std or (1.0,), channels, "std"))
        if min(self.std) <= 0:
            raise ModelError(f"std must be above 0, not {self.std}")

    @classmethod
    def of(cls, model: nn.Module, input_size: tuple[int, ...] | None = None) -> Preprocessing:
        """What the model's ``pretrained_cfg`` says; without one, the papers' way: divided by 255 and nothing else.

        Args:
            model: The model that the pictures are for.
            input_size: (channels, height, width), instead of the model's own.

        Raises:
            ModelError: The model does not take pictures.
        """
        size = input_size or input_size_of(model)
        if len(size) != 3:
            raise ModelError(f"this model takes inputs of {len(size)} dimensions, not pictures")
        channels, height, width = (int(side) for side in size)
        if not isinstance(getattr(model, "pretrained_cfg", None), Mapping):
            return cls((channels, height, width), origin="the papers' way, since the model states nothing")
        from timm.data import resolve_model_data_config

        config = resolve_model_data_config(model)
        resizes = {timm_name: name for name, timm_name in TIMM_INTERPOLATION.items()}
        return cls(
            (channels, height, width),
            resize=resizes.get(str(config["interpolation"]), "cubic"),
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
            crop=float(config["crop_pct"]),
            crop_mode=str(config["crop_mode"]),
            origin="the model's own",
        )

    def papers(self) -> Preprocessing:
        """The papers' way at the same size: divided by 255, the whole picture. ``resize`` is unchanged."""
        return Preprocessing(self.input_size, resize=self.resize)

    def imagenet(self) -> Preprocessing:
        """Mean and standard deviation of ImageNet, as torchvision's published weights need them."""
        return replace(self, mean=_IMAGENET_MEAN, std=_IMAGENET_STD, origin="ImageNet's mean and deviation")

    @property
    def mode(self) -> str:
        """The mode of Pillow that pictures are converted to."""
        return _MODES[self.input_size[0]]

    @cached_property
    def _transform(self) -> Callable[[Image], Tensor]:
        from timm.data import create_transform

        made: Callable[[Image], Tensor] = create_transform(
            self.input_size,
            interpolation=TIMM_INTERPOLATION[self.resize],
            mean=self.mean,
            std=self.std,
            crop_pct=self.crop,
            crop_mode=self.crop_mode,
        )
        return made

    def __call__(self, picture: Image) -> Tensor:
        """The input for ``picture``: float32, ``(channels, height, width)``.

        Raises:
            DataError: The picture is so narrow that it would be resized to nothing, or to too many pixels.
        """
        self._check_size(*picture.size)
        return self._transform(picture.convert(self.mode))

    def pixels(self, picture: Image) -> Tensor:
        """What the model sees of ``picture``, before mean and deviation: uint8, ``(channels, height, width)``.

        Raises:
            DataError: As when called.
        """
        import torch
        from torchvision.transforms.functional import pil_to_tensor

        _, height, width = self.input_size
        if self.crop == 1 and picture.size == (width, height):  # nothing to resize, which takes most of the time
            pixels: Tensor = pil_to_tensor(picture.convert(self.mode))
            return pixels
        return self._unscaled(picture).mul(255).round().to(torch.uint8)

    @cached_property
    def _unscaled(self) -> Preprocessing:
        return replace(self, mean=(0.0,), std=(1.0,))

    def normalized(self, pixels: Tensor) -> Tensor:
        """The inputs for pixels as :meth:`pixels` returns them, with any dimensions before those: float32.

        >>> from PIL import Image
        >>> import torch
        >>> prepared = Preprocessing((3, 8, 8), mean=(0.4, 0.5, 0.6), std=(0.2,))
        >>> picture = Image.effect_noise((16, 16), 50)
        >>> torch.equal(prepared.normalized(prepared.pixels(picture)), prepared(picture))
        True
        """
        import torch

        mean, std = (torch.tensor(values, device=pixels.device).view(-1, 1, 1) for values in (self.mean, self.std))
        return pixels.to(torch.float32).div(255).sub(mean).div(std)

    def seen(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The part of a picture of ``width`` times ``height`` pixels that the model sees.

        Returns:
            Left, top, right and bottom in pixels; outside the picture where a border is added.

        Raises:
            DataError: As when called.

        >>> Preprocessing((3, 100, 100)).seen(300, 200)
        (50.0, 0.0, 250.0, 200.0)
        """
        self._check_size(width, height)
        return self._seen(width, height)

    def _ratios(self, width: int, height: int) -> tuple[float, float]:
        """Pixels of the picture per pixel of the resized picture, in width and in height."""
        _, high, wide = self.input_size
        ratios = (width / math.floor(wide / self.crop), height / math.floor(high / self.crop))
        if self.crop_mode == "squash":
            return ratios
        return (min(ratios),) * 2 if self.crop_mode == "center" else (max(ratios),) * 2

    def _seen(self, width: int, height: int) -> tuple[float, float, float, float]:
        _, high, wide = self.input_size
        ratios = self._ratios(width, height)
        half = (wide * ratios[0] / 2, high * ratios[1] / 2)
        return (width / 2 - half[0], height / 2 - half[1], width / 2 + half[0], height / 2 + half[1])

    def _check_size(self, width: int, height: int) -> None:
        """Refuse a picture whose narrow side makes the resized one, or the part that is seen, huge or empty."""
        ratios = self._ratios(width, height)
        resized = (width / ratios[0], height / ratios[1])
        left, top, right, bottom = self._seen(width, height)
        if round(min(resized)) < 1 or max(resized[0] * resized[1], (right - left) * (bottom - top)) > MOST_PIXELS:
            _, high, wide = self.input_size
            raise DataError(f"a picture of {width:,} x {height:,} pixels is too narrow for {wide}x{high}: crop it")

    def picture_of(self, tensor: Tensor) -> Image:
        """The picture that ``tensor``, ``(channels, height, width)``, was made from, at the model's input size."""
        import torch
        from torchvision.transforms.functional import to_pil_image

        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        picture: Image = to_pil_image((tensor.detach().cpu().float() * std + mean).clamp(0, 1))
        return picture

    def to_json(self) -> dict[str, Any]:
        """All values, with the names of the attributes."""
        return {
            "input_size": list(self.input_size),
            "resize": self.resize,
            "mean": list(self.mean),
            "std": list(self.std),
            "crop": self.crop,
            "crop_mode": self.crop_mode,
            "origin": self.origin,
        }

    def __str__(self) -> str:
        """One line for people."""
        channels, height, width = self.input_size
        parts = [f"{width}x{height} {'RGB' if channels == 3 else 'grey'}"]
        parts.append(f"resized by {self.resize}" + (" (pixels repeated)" if self.resize == "nearest" else ""))
        if self.crop < 1:
            parts.append(f"cropped to {self.crop:g}")
        if self.crop_mode != "center":
            parts.append({"squash": "squashed to fit", "border": "padded to fit"}[self.crop_mode])
        parts.append("divided by 255")
        if any(self.mean):
            parts.append(f"mean {_numbers(self.mean)}")
        if any(value != 1 for value in self.std):
            parts.append(f"std {_numbers(self.std)}")
        return f"{', '.join(parts)} ({self.origin})"


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.3g}" for value in values)


def _per_channel(values: tuple[float, ...], channels: int, what: str) -> tuple[float, ...]:
    """One number per channel; a single number is for all, and those of three colours become one for grey."""
    numbers = tuple(float(value) for value in values)
    if not all(map(math.isfinite, numbers)):
        raise ModelError(f"{what} must be finite numbers, not {values}")
    if len(numbers) == channels:
        return numbers
    if len(numbers) == 1 or channels == 1:
        return (sum(numbers) / len(numbers),) * channels
    raise ModelError(f"{what} has {len(numbers)} numbers for {channels} channels: it must have one, or one per channel")
