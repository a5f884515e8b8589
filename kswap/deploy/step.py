"""One training step as something that can be timed: forward, loss, backward, and a plain SGD step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_leaves

from kswap.errors import DeployError

# So small that the weights stay what they are over any number of steps: no side may run into infinities.
_RATE = 1e-6


def training_step(model: nn.Module, inputs: tuple[Tensor, ...], device: torch.device) -> Callable[[], None]:
    """A step of ``model``, which is moved to ``device``, in training mode and channels_last.

    The loss is cross entropy where the model gives one number a class, else the sum of its outputs. Raises
    :class:`DeployError` where the model cannot be trained on these inputs; it is run once to see that.
    """
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.train()
    moved = tuple(_to(x, device) for x in inputs)
    optimizer = torch.optim.SGD(model.parameters(), lr=_RATE)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        _loss(model(*moved)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    try:
        step()
    except (RuntimeError, ValueError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise DeployError(f"a training step at batch {len(inputs[0])} fails: {line}; try a larger --batch") from error
    return step


def _to(x: Tensor, device: torch.device) -> Tensor:
    return x.to(device, memory_format=torch.channels_last) if x.ndim == 4 else x.to(device)


def _loss(outputs: object) -> Tensor:
    found = [x for x in tree_leaves(outputs) if isinstance(x, Tensor) and x.is_floating_point()]
    if len(found) == 1 and found[0].ndim == 2:
        return functional.cross_entropy(found[0], torch.zeros(len(found[0]), dtype=torch.long, device=found[0].device))
    return torch.stack([x.sum() for x in found]).sum()
