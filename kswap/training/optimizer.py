"""The optimizers of timm by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from kswap.errors import TrainingError, excerpt, first_line, nearest


def optimizer_of(
    trained: nn.Module | Sequence[dict[str, Any]],
    name: str,
    lr: float,
    weight_decay: float,
    options: Mapping[str, Any] | None = None,
) -> torch.optim.Optimizer:
    """The optimizer of :mod:`timm.optim` with a name; weight decay is for weights, not for biases and norms.

    ``trained`` is a model, or groups of :func:`kswap.training.parameter_groups.parameter_groups`. Raises
    :class:`TrainingError` for a name or an option that it does not know.

    >>> type(optimizer_of(nn.Linear(2, 2), "adamw", lr=1e-3, weight_decay=0.05)).__name__
    'AdamW'
    """
    from timm.optim import create_optimizer_v2, list_optimizers

    known = list_optimizers(exclude_filters=["lookahead*"])
    if name not in known:
        raise TrainingError(
            f"unknown optimizer '{excerpt(name)}': timm knows adam, adamw, sgd and others{nearest(name, known)}"
        )
    try:
        made: torch.optim.Optimizer = create_optimizer_v2(
            trained, opt=name, lr=lr, weight_decay=weight_decay, **(options or {})
        )
    except (TypeError, ValueError) as error:
        raise TrainingError(f"the optimizer {name} does not take these options: {first_line(error)}") from error
    return made
