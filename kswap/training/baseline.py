"""A network that is left as it is, as a conversion in which nothing is replaced."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from kswap.conversion import convert, plan
from kswap.converted import Conversion

_REASON = "a baseline: nothing is replaced"


def unconverted(
    model: nn.Module | str,
    *,
    input_size: tuple[int, ...] | None = None,
    skip_strides: int = 0,
    device: str | torch.device | None = None,
    seed: int | None = None,
    **arguments: Any,
) -> Conversion:
    """``model`` with all its pointwise convolutions kept: it can be trained, saved and loaded as a converted one.

    Args:
        model: As for :func:`kswap.convert`.
        input_size: As for :func:`kswap.convert`, as all that follows.
        skip_strides: Strides are skipped in the baseline as well.
        device: Where it goes.
        seed: Makes fresh weights reproducible.
        arguments: ``pretrained``, ``weights`` and arguments of the model's builder.

    Raises :class:`kswap.errors.KswapError` subclasses.

    >>> baseline = unconverted("test_resnet", num_classes=3, device="cpu", seed=0)
    >>> baseline.report.params.before == baseline.report.params.after
    True
    """
    own = {name: value for name, value in arguments.items() if name not in ("pretrained", "weights")}
    made = plan(model, input_size=input_size, skip_strides=skip_strides, **own)
    kept = made.keep([site.name for site in made.replaced], _REASON)
    return convert(model, plan=kept, input_size=input_size, device=device, seed=seed, **arguments)
