"""The trained network of a study, its pictures, and what it answers to them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from kswap.analysis.loaded_model import LoadedModel, logits_of
from kswap.data.opening import image_set
from kswap.data.picture_set import LabelledPictures
from kswap.data.prepared import PreparedPictures
from kswap.data.preprocessing import Preprocessing
from kswap.errors import StudyError
from kswap.graph.modes import evaluating
from kswap.loading import original_model
from kswap.studies.transfer.settings import Settings
from kswap.transfer.teacher import Teacher, kept_answers

_BATCH = 64


@dataclass(frozen=True)
class Subject:
    """What all cases of a study share: the trained network in eval mode, which is never changed, and its pictures.

    ``out`` is where the study is kept.
    """

    settings: Settings
    model: nn.Module
    preprocessing: Preprocessing
    train: PreparedPictures
    validation: PreparedPictures
    out: Path

    @classmethod
    def of(cls, settings: Settings, out: Path) -> Subject:
        """Build the network and find the pictures. Raises :class:`kswap.errors.KswapError` subclasses."""
        _, model = original_model(
            settings.model, dict(settings.model_kwargs), pretrained=settings.weights is None, weights=settings.weights
        )
        model.eval().requires_grad_(False)
        own = Preprocessing.of(model)
        prepared = replace(own, input_size=(own.input_size[0], settings.side, settings.side))
        train, validation = (
            PreparedPictures(image_set(settings.data, split), prepared)
            for split in (settings.train_split, settings.validation_split)
        )
        if len(train) <= settings.held_out:
            raise StudyError(f"{len(train)} training pictures are too few to hold {settings.held_out} out")
        return cls(settings, model, prepared, train, validation, out)

    @property
    def params(self) -> int:
        """The parameters of the trained network."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @cached_property
    def input_size(self) -> tuple[int, int, int]:
        """(channels, height, width) of the inputs."""
        return self.preprocessing.input_size

    @cached_property
    def teacher(self) -> Teacher:
        """The network as a teacher."""
        return Teacher(self.model, self.preprocessing)

    @cached_property
    def answers(self) -> Tensor:
        """The teacher's logits for the training pictures, ``(N, classes)``."""
        everything = range(len(self.train))
        loaded = self.loaded(self.model)
        answers = kept_answers(self.teacher, loaded, self.train, everything, "logits", _BATCH, None, "", shown=False)
        if answers is None:
            raise StudyError(f"the answers to {len(self.train):,} pictures take too much memory: study fewer")
        return answers

    @cached_property
    def split(self) -> tuple[Tensor, Tensor]:
        """Numbers of the training pictures to learn from while learning rates are chosen, and of those held out."""
        order = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(0))
        return order[self.settings.held_out :], order[: self.settings.held_out]

    def calibration(self, seed: int) -> tuple[Tensor, Tensor]:
        """Inputs and labels of the training pictures that networks are projected or pruned with."""
        order = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(seed))
        numbers = order[: self.settings.calibration]
        return self.train.inputs(numbers.tolist()), labels_of(self.train)[numbers]

    def loaded(self, model: nn.Module) -> LoadedModel:
        """``model`` as one that takes the same inputs as the network."""
        return LoadedModel(model, self.settings.model, torch.device("cpu"), self.preprocessing)


def labels_of(pictures: PreparedPictures) -> Tensor:
    """The numbers of the classes of all ``pictures``, ``(N)``."""
    assert isinstance(pictures.images, LabelledPictures)
    return torch.tensor(pictures.images.labels)


def logits_for(model: nn.Module, pictures: PreparedPictures, numbers: Tensor | None = None) -> Tensor:
    """The logits of ``model`` in eval mode for all pictures, or those with these numbers, ``(N, classes)``."""
    chosen = torch.arange(len(pictures)) if numbers is None else numbers
    with evaluating(model), torch.inference_mode():
        parts = [
            logits_of(model(pictures.inputs(part.tolist()).contiguous(memory_format=torch.channels_last)))
            for part in torch.split(chosen, _BATCH)
        ]
    return torch.cat(parts)


def accuracy_of(model: nn.Module, pictures: PreparedPictures, numbers: Tensor | None = None) -> float:
    """The share of the pictures that ``model`` recognises."""
    labels = labels_of(pictures) if numbers is None else labels_of(pictures)[numbers]
    return float((logits_for(model, pictures, numbers).argmax(1) == labels).double().mean())
