"""Taking the blocks of a converted model out again, to see that nothing around them has changed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

import kswap
from kswap.nn import PointwiseBlock
from kswap.planner.site_plan import SitePlan


class Bypass(nn.Sequential):
    """The original convolution, norm and activation in the place of a block."""

    def __getattr__(self, name: str) -> Any:
        """Attributes of the convolution: models ask for its stride or for the type of its weight."""
        if name in ("weight", "bias", "stride", "kernel_size", "padding", "dilation"):
            return getattr(self[0], name)
        return super().__getattr__(name)


def original_parts(model: nn.Module, site: SitePlan) -> list[nn.Module]:
    """What the block of ``site`` has taken in, from the original ``model``."""
    norm, activation = site.site.norm, site.site.activation
    names = [site.name]
    if site.absorbs_norm and norm:
        names.append(norm.name)
    in_norm = norm is not None and activation is not None and activation.name.startswith(f"{norm.name}.")
    if site.absorbs_activation and activation and activation.name and not activation.stays and not in_norm:
        names.append(activation.name)
    return [model.get_submodule(name) for name in names]


def bypass_(conversion: kswap.Conversion, model: nn.Module) -> int:
    """Put the parts of ``model`` in the place of all blocks of ``conversion``; gives the number of blocks."""
    converted = conversion.model
    blocks = {
        id(converted.get_submodule(site.name)): Bypass(*original_parts(model, site))
        for site in conversion.plan.replaced
    }
    for parent in list(converted.modules()):
        for name, child in list(parent._modules.items()):
            if id(child) in blocks:
                parent._modules[name] = blocks[id(child)]
    assert not any(isinstance(module, PointwiseBlock) for module in converted.modules())
    return len(blocks)


@torch.no_grad()
def scatter_(model: nn.Module) -> None:
    """Values for scales, biases and running statistics under which no layer passes its input through."""
    for name, parameter in model.named_parameters():
        if sum(side > 1 for side in parameter.shape) <= 1:
            parameter.normal_(0, 0.1) if name.endswith("bias") else parameter.uniform_(0.5, 1.5)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)


def equal(left: Any, right: Any) -> bool:
    """Whether two outputs have the same nesting and the same numbers, to the last bit."""
    mine, nesting = tree_flatten(left)
    other, other_nesting = tree_flatten(right)
    return nesting == other_nesting and all(
        torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in zip(mine, other, strict=True)
    )
