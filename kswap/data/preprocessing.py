"""How a picture becomes the input of a model: a value that can be printed, compared and replaced."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kswap.errors import ModelError, nearest
from kswap.sources.inputs import input_size_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL.Image import Image
    from torch import Tensor, nn

# Our names of interpolations, and timm's. Nearest from 32x32 to 224x224 repeats each pixel 7x7, as in the papers.
_TIMM_RESIZE = {"cubic": "bicubic", "linear": "bilinear", "nearest": "nearest", "lanczos": "lanczos"}
RESIZES = tuple(_TIMM_RESIZE)
CROP_MODES = ("center", "squash", "border")

_MODES = {1: "L", 3: "RGB"}
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop, divide by 255, subtract ``mean`` and divide by ``std``.

    ``input_size`` is (channels, height, width) in pixels. ``crop`` is the share of the resized side that the
    input keeps (1: all); ``crop_mode`` is timm's: ``"center"`` (the shorter side is fitted, what is over is cut
    off), ``"squash"`` (both sides are fitted) or ``"border"`` (the longer side is fitted, the rest is padded).
    ``origin`` says where the values come from. Raises :class:`ModelError` for values that make no sense.

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
        channels = self.input_size[0]
        if len(self.input_size) != 3 or min(self.input_size) < 1:
            raise ModelError(f"{self.input_size} is no input size: give (channels, height, width)")
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

        ``input_size`` (channels, height, width) takes the place of the model's own.
        """
        size = input_size or input_size_of(model)
        if len(size) != 3:
            raise ModelError(f"this model takes inputs of {len(size)} dimensions, not pictures")
        channels, height, width = (int(side) for side in size)
        if not isinstance(getattr(model, "pretrained_cfg", None), Mapping):
            return cls((channels, height, width), origin="the papers' way, since the model states nothing")
        from timm.data import resolve_model_data_config

        config = resolve_model_data_config(model)
        resizes = {timm_name: name for name, timm_name in _TIMM_RESIZE.items()}
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
        """The papers' way at the same size: divided by 255, the whole picture. Resizing stays as it is."""
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
            interpolation=_TIMM_RESIZE[self.resize],
            mean=self.mean,
            std=self.std,
            crop_pct=self.crop,
            crop_mode=self.crop_mode,
        )
        return made

    def __call__(self, picture: Image) -> Tensor:
        """The input for ``picture``: float32, ``(channels, height, width)``."""
        return self._transform(picture.convert(self.mode))

    def seen(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The part of a picture of ``width`` times ``height`` pixels that the model gets to see.

        Left, top, right and bottom in pixels; beyond the picture where a border is added.

        >>> Preprocessing((3, 100, 100)).seen(300, 200)
        (50.0, 0.0, 250.0, 200.0)
        """
        _, high, wide = self.input_size
        scaled = (math.floor(wide / self.crop), math.floor(high / self.crop))
        ratios = (width / scaled[0], height / scaled[1])
        if self.crop_mode != "squash":
            ratios = (min(ratios),) * 2 if self.crop_mode == "center" else (max(ratios),) * 2
        half = (wide * ratios[0] / 2, high * ratios[1] / 2)
        return (width / 2 - half[0], height / 2 - half[1], width / 2 + half[0], height / 2 + half[1])

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
    """One number a channel; a single number is for all, and those of three colours become one for grey."""
    numbers = tuple(float(value) for value in values)
    if not all(map(math.isfinite, numbers)):
        raise ModelError(f"{what} must be finite numbers, not {values}")
    if len(numbers) == channels:
        return numbers
    if len(numbers) == 1 or channels == 1:
        return (sum(numbers) / len(numbers),) * channels
    raise ModelError(f"{what} has {len(numbers)} numbers for {channels} channels: give one, or one a channel")
