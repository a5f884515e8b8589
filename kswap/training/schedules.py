"""Learning rates over a run, set after each step by the schedulers of timm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from timm.scheduler.scheduler import Scheduler

from kswap.training.recipe import Schedule


def cosine(
    optimizer: torch.optim.Optimizer, lr: float, warmup: float, steps: int, constant: bool = False
) -> Callable[[int], object]:
    """From ``lr`` to 0 over the run (SGDR, without restarts), after a linear rise over the share ``warmup`` of it.

    With ``constant`` the learning rate stays after the rise. Returns what sets the learning rate after a number of
    steps.
    """
    from timm.scheduler import create_scheduler_v2

    stays = constant or steps < 2
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched="step" if stays else "cosine",
        decay_rate=1.0 if stays else 0.1,
        num_epochs=1,
        warmup_epochs=warmup,
        warmup_lr=lr / 100,
        step_on_epochs=False,
        updates_per_epoch=steps,
    )
    made: Callable[[int], object] = scheduler.step_update
    return made


class _Shares(Scheduler):  # type: ignore[misc]
    """Sets the learning rate to a share of what the optimizer was built with."""

    def __init__(self, optimizer: torch.optim.Optimizer, share: Callable[[int], float], in_epochs: bool) -> None:
        super().__init__(optimizer, param_group_field="lr", t_in_epochs=in_epochs)
        self._share = share

    def _get_lr(self, t: int) -> list[float]:
        return [value * self._share(t) for value in self.base_values]


def cycle_share(epoch: int, asked: Schedule, lr: float) -> float:
    """The learning rate of an epoch in the papers' cycles, as a share of ``lr``.

    >>> papers = Schedule("cycle", period=25, rise=0.5, rise_epochs=7, decay=0.85)
    >>> [round(0.001 * cycle_share(epoch, papers, 0.001), 6) for epoch in (0, 1, 6, 7, 8, 25)]
    [0.001, 0.0015, 0.004, 0.004, 0.0034, 0.001]
    """
    inner = epoch % asked.period
    risen = 1 + asked.rise * min(inner, asked.rise_epochs - 1)
    return max(risen * asked.decay ** max(0, inner - asked.rise_epochs), asked.least / lr)


def triangle_share(step: int, steps: int, asked: Schedule) -> float:
    """The learning rate after a number of steps, as a share: up to 1 at the share ``peak`` of the run, and down.

    >>> [triangle_share(step, 100, Schedule("triangle", start=0.2, peak=0.25, end=0.0)) for step in (0, 25, 100)]
    [0.2, 1.0, 0.0]
    """
    done = step / steps
    if done < asked.peak:
        return asked.start + (1 - asked.start) * done / asked.peak
    return 1 + (asked.end - 1) * (done - asked.peak) / (1 - asked.peak)


def schedule_of(
    optimizer: torch.optim.Optimizer, asked: Schedule, lr: float, steps: int, epoch_of: Callable[[int], int]
) -> Callable[[int], object]:
    """What sets the learning rate after a number of steps. ``epoch_of`` returns the epoch that a step is in."""
    if asked.name in ("cosine", "constant"):
        return cosine(optimizer, lr, asked.warmup, steps, asked.name == "constant")
    if asked.name == "triangle":
        triangle: Any = _Shares(optimizer, lambda step: triangle_share(step, steps, asked), in_epochs=False)
        triangle.step_update(0)
        made: Callable[[int], object] = triangle.step_update
        return made

    def share(epoch: int) -> float:
        if asked.name == "cycle":
            return cycle_share(epoch, asked, lr)
        return max(asked.decay ** (epoch // asked.period), asked.least / lr)

    shares: Any = _Shares(optimizer, share, in_epochs=True)
    shares.step(0)
    return lambda step: shares.step(epoch_of(step))
