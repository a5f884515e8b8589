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

# Channels are removed in so many steps, down to the share `1 - _MOST`; gradients are taken anew after a few of them.
_STEPS, _MOST, _EACH = 100, 0.97, 6
_GRADIENT_IMAGES, _BATCH = 128, 32


def _build(subject: Subject, share: float, seed: int, round_to: int | None) -> Student:
    import torch_pruning

    model = copy.deepcopy(subject.model).requires_grad_(True).eval()
    heads = [module for module in model.modules() if isinstance(module, nn.Linear)]
    pruner = torch_pruning.pruner.MetaPruner(
        model,
        torch.zeros(1, *subject.input_size),
        importance=torch_pruning.importance.TaylorImportance(),
        global_pruning=True,
        pruning_ratio=_MOST,
        iterative_steps=_STEPS,
        ignored_layers=heads,
        round_to=round_to,
    )
    inputs, labels = subject.calibration(seed)
    for step in range(_STEPS):
        if _params(model) <= share * subject.params:
            model.zero_grad()
            rounded = f", channels in multiples of {round_to}" if round_to else ""
            return Student(model, frozen_norms=False, note=f"Taylor, {step} steps{rounded}")
        if step % _EACH == 0:
            _gradients_(model, inputs, labels, step // _EACH)
        pruner.step()
    raise StudyError(f"Torch-Pruning does not reach {share:.0%} of the parameters of {subject.settings.model}")


def _gradients_(model: nn.Module, inputs: Tensor, labels: Tensor, turn: int) -> None:
    """Gradients of the cross-entropy, summed over a part of the pictures that changes from turn to turn."""
    model.zero_grad()
    numbers = torch.arange(turn * _GRADIENT_IMAGES, (turn + 1) * _GRADIENT_IMAGES) % len(inputs)
    for part in torch.split(numbers, _BATCH):
        loss = functional.cross_entropy(logits_of(model(inputs[part])), labels[part])
        loss.backward()  # type: ignore[no-untyped-call]


def _params(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


_PACKAGES = {"torch_pruning": "study"}
ROUNDED = Method(
    "pruned-8", "Torch-Pruning, multiples of 8", partial(_build, round_to=8), ours=False, packages=_PACKAGES
)
UNROUNDED = Method("pruned", "Torch-Pruning", partial(_build, round_to=None), ours=False, packages=_PACKAGES)
