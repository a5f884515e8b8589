"""One training step as something that can be timed: forward, loss, backward, and a plain SGD step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from kswap.errors import DeployError, first_line
from kswap.graph.call import tensors_in
from kswap.graph.clone import full_clone

# So small that the weights hardly change over any number of steps: no side may run into infinities.
_RATE = 1e-6


def in_training(model: nn.Module, device: torch.device) -> nn.Module:
    """A copy of ``model`` in training mode on ``device``, with its channels last."""
    copy = full_clone(model).train().to(device)
    for parameter in copy.parameters():
        parameter.data = channels_last(parameter.data, device)
    return copy


def channels_last(x: Tensor, device: torch.device) -> Tensor:
    """``x`` on ``device``, an image or filter with its channels innermost."""
    return x.to(device, memory_format=torch.channels_last) if x.ndim == 4 else x.to(device)


def training_step(model: nn.Module, inputs: tuple[Tensor, ...]) -> Callable[[], None]:
    """A step of ``model``, which is in training mode on the device of ``inputs``.

    The loss is cross entropy where the model returns one number per class, else the sum of its outputs. Raises
    :class:`DeployError` where the model cannot be trained on these inputs; it is run once to see that.
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=_RATE)
    device = inputs[0].device

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        _loss(model(*inputs)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    try:
        step()
    except (RuntimeError, ValueError) as error:
        raise DeployError(
            f"a training step at batch {len(inputs[0])} fails: {first_line(error)}; try a larger --batch"
        ) from error
    return step


def _loss(outputs: object) -> Tensor:
    found = [x for x in tensors_in(outputs) if x.is_floating_point()]
    if len(found) == 1 and found[0].ndim == 2:
        return functional.cross_entropy(found[0], torch.zeros(len(found[0]), dtype=torch.long, device=found[0].device))
    return torch.stack([x.sum() for x in found]).sum()
