"""Parameters in groups for an optimizer: structured layers may have a learning rate of their own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from kswap.errors import TrainingError
from kswap.nn import PointwiseBlock


def structured_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The weights and biases of the layers of all blocks; not their norms and activations.

    >>> import kswap
    >>> len(structured_parameters(kswap.create_model("test_efficientnet", ch=8))) > 0
    True
    """
    blocks = (module for module in model.modules() if isinstance(module, PointwiseBlock))
    return [parameter for block in blocks for layer in block.layers for parameter in layer.parameters()]


def parameter_groups(
    model: nn.Module,
    lr: float,
    structured_lr: float,
    weight_decay: float = 0.0,
    structured: Iterable[nn.Parameter] | None = None,
) -> list[dict[str, Any]]:
    """The trainable parameters of ``model``, for any optimizer of torch or timm.

    What suits a dense layer need not suit a structured one of the same sizes: Qiu et al., *Compute Better Spent:
    Replacing Dense Layers with Structured Matrices* (2024), find that comparisons of structures turn on their
    initialisation and learning rates. Schedulers that scale the rate of each group keep the two apart.

    Args:
        model: a converted model, or any other, whose parameters then all learn with ``lr``.
        lr: the learning rate of all that is not structured.
        structured_lr: that of the layers of blocks.
        weight_decay: of weights; biases, norms and what ``model.no_weight_decay()`` names have none, as in timm.
        structured: the parameters that learn with ``structured_lr``; without, :func:`structured_parameters` of the
            model.

    Raises:
        TrainingError: where a rate is not above 0, or weight decay is negative.

    >>> import kswap
    >>> model = kswap.create_model("test_efficientnet", ch=8)
    >>> [(group["lr"], len(group["params"]) > 0) for group in parameter_groups(model, 0.1, 0.3)]
    [(0.1, True), (0.3, True)]
    """
    from timm.optim import param_groups_weight_decay

    if min(lr, structured_lr) <= 0 or weight_decay < 0:
        raise TrainingError(
            f"learning rates must be above 0 and weight decay at least 0, not {lr:g}, {structured_lr:g} and "
            f"{weight_decay:g}"
        )
    chosen = {id(p) for p in (structured_parameters(model) if structured is None else structured)}
    named = getattr(model, "no_weight_decay", None)
    without_decay = named() if callable(named) else ()
    if weight_decay:
        decayed = param_groups_weight_decay(model, weight_decay, no_weight_decay_list=without_decay)
    else:
        decayed = [{"params": [p for p in model.parameters() if p.requires_grad], "weight_decay": 0.0}]
    found = []
    for rate, inside in ((lr, False), (structured_lr, True)):
        for group in decayed:
            params = [p for p in group["params"] if (id(p) in chosen) == inside]
            if params:
                found.append({"params": params, "lr": rate, "weight_decay": group["weight_decay"]})
    return found
