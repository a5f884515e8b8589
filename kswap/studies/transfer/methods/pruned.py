"""Channels pruned by Torch-Pruning (Fang et al., 2023) with Taylor importance (Molchanov et al., 2019)."""

from __future__ import annotations

import copy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from kswap.analysis.loaded_model import logits_of
from kswap.errors import StudyError
from kswap.studies.transfer.student import Method, Student
from kswap.studies.transfer.subject import Subject

# The share is reached in so many stages of equal ratio, each with new gradients; in each the ratio of channels that
# leaves just enough parameters is found by halving.
_STAGES, _HALVINGS = 4, 7
_GRADIENT_IMAGES, _BATCH = 256, 32


def _build(subject: Subject, share: float, seed: int, round_to: int | None) -> Student:
    model = copy.deepcopy(subject.model).requires_grad_(True).eval()
    inputs, labels = subject.calibration(seed)
    for stage in range(1, _STAGES + 1):
        _gradients_(model, inputs, labels, stage)
        # Rounded only once: each rounding takes channels from layers that have few.
        rounding = round_to if stage == _STAGES else None
        model = _pruned_to(model, share ** (stage / _STAGES) * subject.params, subject, rounding)
    model.zero_grad()
    rounded = f", channels in multiples of {round_to}" if round_to else ""
    return Student(model, frozen_norms=False, note=f"Taylor, {_STAGES} stages{rounded}")


def _gradients_(model: nn.Module, inputs: Tensor, labels: Tensor, stage: int) -> None:
    """Gradients of the cross-entropy, summed over a part of the pictures that changes from stage to stage."""
    model.zero_grad()
    numbers = torch.arange((stage - 1) * _GRADIENT_IMAGES, stage * _GRADIENT_IMAGES) % len(inputs)
    for part in torch.split(numbers, _BATCH):
        loss = functional.cross_entropy(logits_of(model(inputs[part])), labels[part])
        loss.backward()  # type: ignore[no-untyped-call]


def _pruned_to(model: nn.Module, most: float, subject: Subject, round_to: int | None) -> nn.Module:
    """A copy of ``model`` of at most so many parameters, and nearly as many. Raises :class:`StudyError`."""
    low, high, best = 0.0, 1.0, None
    for _ in range(_HALVINGS):
        ratio = (low + high) / 2
        tried = _pruned(model, ratio, subject, round_to)
        if sum(parameter.numel() for parameter in tried.parameters()) <= most:
            best, high = tried, ratio
        else:
            low = ratio
    if best is None:
        raise StudyError(f"Torch-Pruning leaves more than {most:,.0f} parameters of {subject.settings.model}")
    return best


def _pruned(model: nn.Module, ratio: float, subject: Subject, round_to: int | None) -> nn.Module:
    """A copy of ``model``, which has gradients, without the least important channels of the whole network."""
    import torch_pruning

    small = copy.deepcopy(model)
    for mine, own in zip(small.parameters(), model.parameters(), strict=True):
        mine.grad = None if own.grad is None else own.grad.clone()
    pruner = torch_pruning.pruner.MetaPruner(
        small,
        torch.zeros(1, *subject.input_size),
        importance=torch_pruning.importance.GroupTaylorImportance(),
        global_pruning=True,
        pruning_ratio=ratio,
        ignored_layers=[module for module in small.modules() if isinstance(module, nn.Linear)],
        round_to=round_to,
    )
    pruner.step()
    return small


_PACKAGES = {"torch_pruning": "study"}
ROUNDED = Method(
    "pruned-8", "Torch-Pruning, multiples of 8", partial(_build, round_to=8), ours=False, packages=_PACKAGES
)
UNROUNDED = Method("pruned", "Torch-Pruning", partial(_build, round_to=None), ours=False, packages=_PACKAGES)
