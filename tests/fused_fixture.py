"""Blocks for the tests of fused kernels, and what a forward and backward pass of one leaves behind."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from kswap.nn import GroupedBlock
from kswap.nn.norms_and_activations import ACTIVATION_CLASSES
from kswap.planner import plan_layer


def block_of(
    inputs: int,
    outputs: int,
    ch: int,
    scheme: str = "v2",
    *,
    second_layer: bool = True,
    sum: bool = True,
    bias: bool = False,
    norm: bool = True,
    activation: str | None = "silu",
    stride: int = 1,
    linear: bool = False,
) -> GroupedBlock | None:
    """A block in float64 with the numbers of a trained one in its norms; ``None`` where the layer is kept."""
    plan = plan_layer(inputs, outputs, ch, scheme, second_layer, sum)
    if plan.k is None:
        return None
    like = nn.Linear(inputs, outputs, bias) if linear else nn.Conv2d(inputs, outputs, 1, stride, bias=bias)
    norms = nn.BatchNorm2d(outputs) if norm else None
    acts = None if activation is None else ACTIVATION_CLASSES[activation]()
    block = GroupedBlock(plan, norms, acts, replaces=like)
    for part in block.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.running_var, 0.3, 2)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias)
    return block.double()


def fused(block: GroupedBlock, dtype: torch.dtype = torch.float64, device: str = "cpu") -> GroupedBlock:
    """A copy that is computed by the kernels."""
    found = copy.deepcopy(block).to(device=device, dtype=dtype)
    found.compute_fused_()
    return found


def results(module: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Output, gradients of input and parameters, and state after a forward and backward pass, in float64."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    module.zero_grad()
    out = module(x)
    weights = torch.linspace(-1, 1, out.numel(), dtype=torch.float64, device=out.device).view(out.shape)
    (out * weights.to(out.dtype)).sum().backward()
    gradients = {f"grad of {name}": p.grad for name, p in module.named_parameters()}
    found = {"out": out.detach(), "grad of x": x.grad, **gradients, **module.state_dict()}
    assert all(tensor is not None for tensor in found.values())
    return {name: tensor.double().cpu() for name, tensor in found.items()}  # type: ignore[union-attr]
