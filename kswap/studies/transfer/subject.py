"""The trained network of a study, its pictures as tensors, and what it answers to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from kswap.analysis.loaded_model import logits_of
from kswap.data.images import ImageSet
from kswap.data.preprocessing import Preprocessing
from kswap.errors import StudyError
from kswap.graph.modes import evaluating
from kswap.loading import original_model
from kswap.studies.transfer.settings import Settings

_BATCH = 100


@dataclass(frozen=True)
class Pictures:
    """Inputs ``(N, channels, height, width)`` and the numbers of their classes ``(N,)``."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def taken(self, numbers: Tensor) -> Pictures:
        """Only the pictures with these numbers."""
        return Pictures(self.inputs[numbers], self.labels[numbers])


@dataclass(frozen=True)
class Subject:
    """What all cases of a study share. ``model`` is the trained network in eval mode, and is never changed."""

    settings: Settings
    model: nn.Module
    preprocessing: Preprocessing
    train: Pictures
    validation: Pictures

    @classmethod
    def of(cls, settings: Settings) -> Subject:
        """Build the network and read all pictures. Raises :class:`kswap.errors.KswapError` subclasses."""
        _, model = original_model(settings.model, dict(settings.model_kwargs))
        if settings.weights:
            import timm.models

            model.load_state_dict(timm.models.load_state_dict(settings.weights))
        model.eval().requires_grad_(False)
        own = Preprocessing.of(model)
        prepared = replace(own, input_size=(own.input_size[0], settings.side, settings.side))
        train = _read(settings.data, settings.train_split, prepared)
        validation = _read(settings.data, settings.validation_split, prepared)
        if len(train) <= settings.held_out:
            raise StudyError(f"{len(train)} training pictures are too few to hold {settings.held_out} out")
        return cls(settings, model, prepared, train, validation)

    @property
    def params(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    @cached_property
    def answers(self) -> Tensor:
        """The logits of the network for the training pictures."""
        return answers_of(self.model, self.train.inputs)

    @cached_property
    def split(self) -> tuple[Tensor, Tensor]:
        """Numbers of the training pictures to learn from while learning rates are chosen, and of those held out."""
        order = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(0))
        return order[self.settings.held_out :], order[: self.settings.held_out]

    def calibration(self, seed: int) -> Pictures:
        """Training pictures to project or prune a network with."""
        order = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(seed))
        return self.train.taken(order[: self.settings.calibration])


def answers_of(model: nn.Module, inputs: Tensor) -> Tensor:
    """The logits of ``model`` in eval mode, ``(N, classes)``."""
    with evaluating(model), torch.no_grad():
        return torch.cat([logits_of(model(batch)) for batch in inputs.split(_BATCH)])


def accuracy_of(model: nn.Module, pictures: Pictures) -> float:
    """The share of ``pictures`` that ``model`` recognises."""
    return float((answers_of(model, pictures.inputs).argmax(1) == pictures.labels).float().mean())


def _read(data: str, split: str, preprocessing: Preprocessing) -> Pictures:
    images: Sequence[tuple[Tensor, int]] = ImageSet(data, split, preprocessing)  # type: ignore[assignment]
    inputs = torch.stack([images[number][0] for number in range(len(images))])
    return Pictures(inputs, torch.tensor([*ImageSet(data, split).labels]))
