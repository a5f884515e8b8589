"""The samples that a projection is fitted on: a few hundred inputs, without labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor, nn

from kswap.data.opening import Data, picture_set
from kswap.data.picture_set import PictureSet
from kswap.data.preprocessing import Preprocessing
from kswap.errors import DataError, wording
from kswap.graph.call import Call, Example
from kswap.progress import progress_bar
from kswap.report.calls import without_home
from kswap.report.provenance import WeightsStep

# How many pictures are taken of a path: the study that this follows found little gain beyond 320.
IMAGES = 512

# Pictures are decoded once where all of them take no more bytes than this.
_MOST_DECODED = 2**30

# Pixels of a batch of pictures; intermediate results of large pictures would not fit otherwise.
_PIXELS = 16 * 224 * 224
_MOST_IN_BATCH = 64


@dataclass(frozen=True, eq=False)
class Calibration:
    """Batches that a model is called with, and how many samples they hold in all; ``title`` says where they are from.

    >>> Calibration.of(torch.zeros(100, 3, 8, 8)).samples
    100
    """

    batches: Sequence[Call]
    samples: int
    title: str = ""

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise DataError("the calibration data holds no samples: pass about 300 inputs of the model")

    def step(self, seed: int) -> WeightsStep:
        """What a report says of weights that were fitted on these samples."""
        return WeightsStep("projected", seed, self.samples, self.title)

    @classmethod
    def of(cls, data: CalibrationData, call: Call | None = None, images: int = IMAGES) -> Calibration:
        """Inputs as a tensor of samples, or as batches.

        Args:
            data: a tensor whose first dimension is the batch; or batches, each a tensor, a tuple of positional
                arguments or a dict of keyword arguments. What a loader returns beside the inputs is ignored.
            call: how the model is called; says how many positional arguments are inputs.
            images: of batches, as many are taken as hold this many samples.

        Raises :class:`DataError`.
        """
        if isinstance(data, Calibration):
            return data
        if isinstance(data, Tensor):
            size = _batch_size(data.shape[2:])
            return cls([Call((part,)) for part in torch.split(data, size)], len(data), "a tensor")
        if isinstance(data, str | Path | PictureSet) or not isinstance(data, Iterable):
            raise DataError(f"calibration data must be tensors or a path of pictures, not {data!r:.60}")
        batches: list[Call] = []
        samples = 0
        for batch in data:
            if samples >= images:
                break
            batches.append(_call_of(batch, call))
            samples += len(batches[-1].tensors[0])
        return cls(batches, samples)

    @classmethod
    def of_pictures(
        cls,
        data: Data,
        preprocessing: Preprocessing,
        images: int = IMAGES,
        split: str | None = None,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> Calibration:
        """Pictures, drawn by ``seed``; those of ``train`` where there is such a split.

        Raises :class:`DataError`.
        """
        if isinstance(images, bool) or not isinstance(images, int) or images < 1:
            raise DataError(
                f"the number of calibration images must be a whole number of at least 1, not {images!r:.40}"
            )
        pictures = picture_set(data, split)
        order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(seed)).tolist()[:images]
        batches = _PictureBatches(pictures, preprocessing, order, _batch_size(preprocessing.input_size[1:]), dtype)
        total = len(order) * math.prod(preprocessing.input_size) * dtype.itemsize
        return cls(batches.decoded() if total <= _MOST_DECODED else batches, len(order), without_home(pictures.source))


# What a caller may calibrate with: samples, batches, or pictures.
CalibrationData = Calibration | Tensor | Iterable[Example] | PictureSet | str | Path


def calibration_of(
    data: CalibrationData, model: nn.Module, call: Call, images: int = IMAGES, seed: int = 0
) -> Calibration:
    """The calibration of ``model`` by ``data``; pictures become inputs in the model's own way, of the size in ``call``.

    Raises :class:`DataError`, and :class:`kswap.errors.ModelError` for pictures where the model takes none.
    """
    if not isinstance(data, str | Path | PictureSet):
        return Calibration.of(data, call, images)
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    preprocessing = Preprocessing.of(model, call.sample_shape)
    return Calibration.of_pictures(data, preprocessing, images, seed=seed, dtype=dtype)


def _call_of(batch: Any, call: Call | None) -> Call:
    made = Call.of(tuple(batch) if isinstance(batch, list) else batch)
    if call is not None and len(made.args) > len(call.args) > 0:
        made = Call(made.args[: len(call.args)], made.kwargs)  # a loader returns labels too
    if not made.tensors or made.tensors[0].ndim == 0:
        raise DataError("a batch of the calibration data must start with a tensor whose first dimension is the batch")
    return made


def _batch_size(spatial: Sequence[int]) -> int:
    return max(1, min(_MOST_IN_BATCH, _PIXELS // max(math.prod(spatial), 1)))


class _PictureBatches(Sequence[Call]):
    """Batches of pictures, decoded when they are asked for."""

    def __init__(
        self, pictures: PictureSet, preprocessing: Preprocessing, order: Sequence[int], size: int, dtype: torch.dtype
    ) -> None:
        self._pictures = pictures
        self._preprocessing = preprocessing
        self._parts = [order[start : start + size] for start in range(0, len(order), size)]
        self._dtype = dtype

    def __len__(self) -> int:
        return len(self._parts)

    @overload
    def __getitem__(self, number: int) -> Call: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Call]: ...
    def __getitem__(self, number: int | slice) -> Call | Sequence[Call]:
        if isinstance(number, slice):
            return [self[place] for place in range(*number.indices(len(self)))]
        return Call((torch.stack([self._input(place) for place in self._parts[number]]).to(self._dtype),))

    def _input(self, number: int) -> Tensor:
        return self._preprocessing(self._pictures.picture(number))

    def decoded(self) -> Sequence[Call]:
        """All batches, decoded now."""
        with progress_bar("reading pictures", len(self)) as bar:
            found = []
            for number in range(len(self)):
                found.append(self[number])
                bar.advance()
        return found


def check_calibration(name: str, fits: bool, data: CalibrationData | None) -> None:
    """Refuse an initialiser that needs calibration data and gets none, and the reverse (:class:`DataError`)."""
    if fits and data is None:
        hint = wording("pass calibration=", "pass --calibrate PATH,")
        raise DataError(
            f"{name} fits the blocks to the outputs of the trained layers on real inputs: {hint} about 300 unlabelled "
            "pictures or samples (by the weights alone, a fifth of EfficientNet-Lite0 has an accuracy of 0.10 on ten "
            "classes, instead of 0.64)"
        )
    if data is not None and not fits:
        hint = wording('pass init="project" as well', "add --init project")
        raise DataError(f"calibration data is for blocks that are fitted, and {name} fits none: {hint}")
