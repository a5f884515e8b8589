"""Distillation of any module from stored answers: the same loop for all methods."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from kswap.analysis.loaded_model import logits_of
from kswap.studies.transfer.settings import Settings
from kswap.studies.transfer.student import Student

_WARMUP = 0.02


def distil_(
    student: Student,
    inputs: Tensor,
    answers: Tensor,
    settings: Settings,
    lr: float,
    images: int,
    seed: int,
    each: Callable[[int], None] = lambda seen: None,
) -> None:
    """Train ``student`` in place: Kullback-Leibler divergence from the softmax of ``answers``, Adam, cosine schedule.

    ``each`` is told after every step how many images were seen.
    """
    model = student.model
    optimizer = torch.optim.Adam(model.parameters(), lr)
    batch, steps = settings.batch, math.ceil(images / settings.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _factor(step / steps))
    generator = torch.Generator().manual_seed(seed)
    order: list[Tensor] = []
    _train_(model, student.frozen_norms)
    for step in range(steps):
        if not order:
            order = list(torch.randperm(len(inputs), generator=generator).split(batch))
        numbers = order.pop()
        loss = divergence(logits_of(model(inputs[numbers])), answers[numbers], settings.temperature)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        each(min((step + 1) * batch, images))
    model.eval()


def divergence(logits: Tensor, answers: Tensor, temperature: float) -> Tensor:
    """The Kullback-Leibler divergence at a temperature, times its square (Hinton, Vinyals and Dean 2015)."""
    wanted = functional.softmax(answers / temperature, 1)
    found = functional.log_softmax(logits / temperature, 1)
    return functional.kl_div(found, wanted, reduction="batchmean") * temperature**2


def _factor(done: float) -> float:
    """The learning rate as a share of the greatest: a linear warm-up, then half a cosine to 0."""
    return min(done / _WARMUP, 1.0, 0.5 * (1 + math.cos(math.pi * done))) if done else 1e-3


def _train_(model: nn.Module, frozen_norms: bool) -> None:
    model.train()
    if frozen_norms:
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
