"""A grouped block by the native kernel, which runs it whole; and by stock operators wherever the kernel does not run.

The weights are the folded ones of K and L, so that a model with such blocks can be copied, pickled and moved to another
device, precision or machine: what cannot run the kernel there computes the same by grouped convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kswap.errors import PlanError
from kswap.native.operator import ACTIVATIONS, grouped_block
from kswap.nn.affine import Affine
from kswap.nn.group_merging import GroupMerging
from kswap.nn.merged_groups import operators_are_free
from kswap.nn.norms_and_activations import is_activation
from kswap.planner.layer_plan import interleave_order
from kswap.planner.layout import GroupedLayout

# By the name of the class, which timm and torch write differently.
_NUMBERS = {name.replace("_", ""): number for name, number in ACTIVATIONS.items()} | {"swish": ACTIVATIONS["silu"]}
_CHANNELS = 1
# Sums are of float32 in both.
_TYPES = (torch.float32, torch.bfloat16)


def number_of(activation: nn.Module | None) -> int | None:
    """The kernel's number of an activation; ``None`` for one that it does not have.

    >>> number_of(nn.SiLU()), number_of(None), number_of(nn.GELU())
    (3, 0, None)
    """
    if activation is None:
        return ACTIVATIONS["identity"]
    return _NUMBERS.get(type(activation).__name__.lower()) if is_activation(activation) else None


@dataclass(frozen=True)
class FoldedLayer:
    """K or L with everything folded: ``affine`` is its matrix, ``activation`` what follows.

    Raises :class:`kswap.errors.PlanError` for a layout that reads a channel twice in a group.
    """

    layout: GroupedLayout
    affine: Affine
    activation: nn.Module | None

    def __post_init__(self) -> None:
        GroupMerging(1).check(self.layout)

    @property
    def weight(self) -> Tensor:
        """``(filters, inputs of a group)``, the filters of the second path last."""
        cells = torch.tensor(GroupMerging(1).cells(self.layout))
        return self.affine.weight.flatten()[cells].view(self.layout.out_channels, self.layout.group_width)


class NativeBlock(nn.Module):
    """``k = act(K x)``, then ``k + act(L(interleave(k)))``, or the second summand alone; ``k`` without L."""

    def __init__(
        self,
        k: FoldedLayer,
        second: FoldedLayer | None,
        step: int,
        sum: bool,
        stride: tuple[int, int],
        like: Tensor,
    ) -> None:
        """``step`` is that of the interleave, 1 for none; dtype and device are those of ``like``."""
        super().__init__()
        self.k, self.l = k.layout, None if second is None else second.layout
        self.k_weight, self.k_bias = _fixed(k.weight, like), _fixed(k.affine.bias, like)
        self.k_act = k.activation or nn.Identity()
        self.l_weight = None if second is None else _fixed(second.weight, like)
        self.l_bias = None if second is None else _fixed(second.affine.bias, like)
        self.l_act = nn.Identity() if second is None else second.activation or nn.Identity()
        self.step, self.sum, self.stride = step, sum, stride
        numbers = number_of(k.activation), number_of(None if second is None else second.activation)
        if None in numbers:
            raise PlanError("the native kernel does not have this activation")
        groups = self.k.groups, 1 if self.l is None else self.l.groups
        self._numbers = (*groups, step, *numbers, sum, *stride)

    def forward(self, x: Tensor) -> Tensor:
        kernel = grouped_block()
        if kernel is None or not self._fits(x):
            return self._stock(x)
        return kernel(x, self.k_weight, self.k_bias, self.l_weight, self.l_bias, *self._numbers)

    def _fits(self, x: Tensor) -> bool:
        """Whether the kernel computes the block of ``x``; gradients and those who see operators get stock ones."""
        return (
            operators_are_free(x)
            and x.dtype in _TYPES
            and self.k_weight.dtype is x.dtype
            and x.device.type == "cpu"
            and x.ndim == 4
            and x.shape[_CHANNELS] == self.k.in_channels
            and not (torch.is_grad_enabled() and (x.requires_grad or self.k_weight.requires_grad))
            and not torch.is_autocast_enabled("cpu")
        )

    def _stock(self, x: Tensor) -> Tensor:
        k: Tensor = self.k_act(_grouped(x, self.k, self.k_weight, self.k_bias, self.stride))
        if self.l is None or self.l_weight is None or self.l_bias is None:
            return k
        mixed = k if self.step == 1 else k[:, interleave_order(self.l.in_channels, self.step)]
        second: Tensor = self.l_act(_grouped(mixed, self.l, self.l_weight, self.l_bias, (1, 1)))
        return k + second if self.sum else second

    def extra_repr(self) -> str:
        second = "" if self.l is None else f", {self.l.short()}, interleave={self.step}, sum={self.sum}"
        return f"{self.k.short()}{second}, stride={self.stride}"


def _fixed(numbers: Tensor, like: Tensor) -> nn.Parameter:
    return nn.Parameter(numbers.to(like).contiguous(), requires_grad=False)


def _grouped(x: Tensor, layout: GroupedLayout, weight: Tensor, bias: Tensor, stride: tuple[int, int]) -> Tensor:
    """A grouped layer by stock operators."""
    if layout.replicated:
        x = torch.cat([x, x.narrow(_CHANNELS, 0, layout.replicated)], _CHANNELS)
    split = layout.groups * layout.filters_per_group
    kernels = weight[:, :, None, None]
    first = F.conv2d(x, kernels[:split], bias[:split], stride, groups=layout.groups)
    if not layout.extra_groups:
        return first
    read = x.narrow(_CHANNELS, 0, layout.extra_groups * layout.group_width)
    return torch.cat([first, F.conv2d(read, kernels[split:], bias[split:], stride, groups=layout.extra_groups)], 1)
