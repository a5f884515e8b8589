"""Channels pruned by Torch-Pruning (Fang et al., 2023) with Taylor importance (Molchanov et al., 2019)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from kswap.analysis.loaded_model import logits_of
from kswap.errors import StudyError

_HALVINGS = 7
_GRADIENT_IMAGES, _BATCH = 256, 32
# What the methods that call it need, and the extra of kswap that installs it.
PACKAGES = {"torch_pruning": "study"}


def pruned_to(
    model: nn.Module,
    most: float,
    inputs: Tensor,
    labels: Tensor,
    input_size: tuple[int, int, int],
    title: str,
    stages: int,
    round_to: int | None = None,
    halvings: int = _HALVINGS,
) -> nn.Module:
    """A copy of ``model`` in eval mode with at most so many parameters, and nearly as many.

    The number is reached in stages of equal ratio, each with new gradients; in each the ratio of channels that leaves
    just enough parameters is found by halving.

    Args:
        model: What is pruned; unchanged.
        most: How many parameters may be left.
        inputs: Training pictures that importance is measured on, ``(N, channels, height, width)``.
        labels: Their classes, ``(N)``.
        input_size: (channels, height, width) of an input.
        title: What messages call the model.
        stages: How many stages.
        round_to: Channels are left in multiples of this.
        halvings: How often the ratio is halved in a stage.

    Raises:
        StudyError: So few cannot be reached.
    """
    small = copy.deepcopy(model).requires_grad_(True).eval()
    params = sum(parameter.numel() for parameter in small.parameters())
    for stage in range(1, stages + 1):
        _gradients_(small, inputs, labels, stage)
        # Rounded only once: each rounding takes channels from layers that have few.
        rounding = round_to if stage == stages else None
        found = _nearest(small, (most / params) ** (stage / stages) * params, input_size, rounding, halvings)
        if found is None:
            raise StudyError(f"Torch-Pruning leaves more than {most:,.0f} parameters of {title}")
        small = found
    small.zero_grad()
    return small


def _gradients_(model: nn.Module, inputs: Tensor, labels: Tensor, stage: int) -> None:
    """Gradients of the cross-entropy, summed over a part of the pictures that changes from stage to stage."""
    model.zero_grad()
    numbers = torch.arange((stage - 1) * _GRADIENT_IMAGES, stage * _GRADIENT_IMAGES) % len(inputs)
    for part in torch.split(numbers, _BATCH):
        loss = functional.cross_entropy(logits_of(model(inputs[part])), labels[part])
        loss.backward()  # type: ignore[no-untyped-call]


def _nearest(
    model: nn.Module, most: float, input_size: tuple[int, int, int], round_to: int | None, halvings: int
) -> nn.Module | None:
    """A copy of ``model`` of at most so many parameters, and nearly as many."""
    low, high, best = 0.0, 1.0, None
    for _ in range(halvings):
        ratio = (low + high) / 2
        tried = _pruned(model, ratio, input_size, round_to)
        if sum(parameter.numel() for parameter in tried.parameters()) <= most:
            best, high = tried, ratio
        else:
            low = ratio
    return best


def _pruned(model: nn.Module, ratio: float, input_size: tuple[int, int, int], round_to: int | None) -> nn.Module:
    """A copy of ``model``, which has gradients, without the least important channels of the whole network."""
    import torch_pruning

    small = copy.deepcopy(model)
    for mine, own in zip(small.parameters(), model.parameters(), strict=True):
        mine.grad = None if own.grad is None else own.grad.clone()
    pruner = torch_pruning.pruner.MetaPruner(
        small,
        torch.zeros(1, *input_size),
        importance=torch_pruning.importance.GroupTaylorImportance(),
        global_pruning=True,
        pruning_ratio=ratio,
        ignored_layers=[module for module in small.modules() if isinstance(module, nn.Linear)],
        round_to=round_to,
    )
    pruner.step()
    return small
