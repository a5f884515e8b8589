"""Channels pruned before training, by their importance for the loss on training pictures.

That is SNIP (Lee et al., 2019) on whole channels, by Torch-Pruning.
"""

from __future__ import annotations

import torch

from kswap.data.held_out import ChosenImages
from kswap.data.prepared import PreparedPictures
from kswap.data.preprocessing import Preprocessing
from kswap.studies.cifar10.data import training_pictures
from kswap.studies.cifar10.forms import baseline_of, params_of
from kswap.studies.cifar10.network import Method, Network
from kswap.studies.cifar10.settings import Settings
from kswap.studies.pruning import PACKAGES, pruned_to
from kswap.training.baseline import unconverted

_IMAGES, _STAGES, _HALVINGS = 256, 1, 9


def _build(settings: Settings, seed: int) -> Network:
    model = baseline_of(settings, seed).model
    pictures = training_pictures(settings)
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randperm(len(pictures), generator=generator)[:_IMAGES].tolist()
    chosen = ChosenImages(pictures, numbers, "train")
    inputs = PreparedPictures(chosen, Preprocessing.of(model, settings.input_size)).inputs(range(len(chosen)))
    most = params_of(settings, ch=settings.main_ch, scheme="v2")
    small = pruned_to(
        model,
        most,
        inputs,
        torch.tensor(chosen.labels),
        settings.input_size,
        settings.network,
        _STAGES,
        halvings=_HALVINGS,
    )
    made = unconverted(small.train(), input_size=settings.input_size, device="cpu")
    count = sum(parameter.numel() for parameter in made.model.parameters())
    return Network(made, f"Taylor at initialisation, {count / most - 1:+.1%} parameters")


METHOD = Method("pruned", "Torch-Pruning, untrained", _build, packages=PACKAGES)
