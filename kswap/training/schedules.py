"""Learning rates over a run, set after each step by the schedulers of timm."""

from __future__ import annotations

from collections.abc import Callable

import torch


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
