"""The block that takes the place of one pointwise convolution: K, interleave, L, sum."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from kswap.nn.grouped import GroupedPointwise, Interleave
from kswap.planner.schemes import LayerPlan


class PointwiseBlock(nn.Module):
    """``k = act(norm(K x))``; with a second layer the output is ``k + act(norm(L(interleave(k))))``.

    Without a second layer it is ``k``, interleaved where the plan says so (scheme v1). ``norm`` and
    ``activation`` may be ``None``; K and L get a copy each (2022 paper, section 3). The attributes
    ``in_channels`` to ``groups`` are those of the :class:`torch.nn.Conv2d` that it stands for.

    >>> import torch
    >>> from kswap.planner import plan_layer
    >>> block = PointwiseBlock(plan_layer(64, 40, ch=16), norm=nn.BatchNorm2d(40), activation=nn.SiLU())
    >>> block(torch.zeros(1, 64, 8, 8)).shape
    torch.Size([1, 40, 8, 8])
    """

    kernel_size = (1, 1)
    padding = (0, 0)
    dilation = (1, 1)
    groups = 1

    def __init__(
        self,
        plan: LayerPlan,
        norm: nn.Module | None = None,
        activation: nn.Module | None = None,
        replaces: nn.Conv2d | None = None,
    ) -> None:
        """``plan`` with ``plan.k`` set; ``replaces`` gives stride, bias, device, dtype and whether to train."""
        super().__init__()
        if plan.k is None:
            raise ValueError(f"this plan keeps the convolution: {plan.reason}")
        self.plan = plan
        self.in_channels = plan.in_channels
        self.out_channels = plan.out_channels
        self.stride = (1, 1)
        bias, train, device, dtype = False, True, None, None
        if replaces is not None:
            self.stride = (replaces.stride[0], replaces.stride[1])
            bias, train = replaces.bias is not None, replaces.weight.requires_grad
            device, dtype = replaces.weight.device, replaces.weight.dtype
        self.k = GroupedPointwise(plan.k, self.stride, bias, device, dtype)
        self.k_norm = copy.deepcopy(norm)
        self.k_act = copy.deepcopy(activation)
        self.interleave: Interleave | None = None
        if plan.interleave_step is not None:
            self.interleave = Interleave(plan.out_channels, plan.interleave_step, device)
        self.l: GroupedPointwise | None = None
        if plan.l is not None:
            self.l = GroupedPointwise(plan.l, (1, 1), bias, device, dtype)
            self.l_norm = copy.deepcopy(norm)
            self.l_act = copy.deepcopy(activation)
        for layer in self.grouped_layers:
            layer.requires_grad_(train)

    @property
    def grouped_layers(self) -> tuple[GroupedPointwise, ...]:
        """K and, where there is one, L."""
        return (self.k,) if self.l is None else (self.k, self.l)

    def forward(self, x: Tensor) -> Tensor:
        k: Tensor = self.k(x)
        if self.k_norm is not None:
            k = self.k_norm(k)
        if self.k_act is not None:
            k = self.k_act(k)
        mixed: Tensor = k if self.interleave is None else self.interleave(k)
        if self.l is None:
            return mixed
        second: Tensor = self.l(mixed)
        if self.l_norm is not None:
            second = self.l_norm(second)
        if self.l_act is not None:
            second = self.l_act(second)
        return k + second

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, {self.plan.short()}, stride={self.stride}"


class Absorbed(nn.Identity):
    """Stands where a norm or activation was that a block has taken in; passes its input through."""

    def __init__(self, into: str) -> None:
        super().__init__()
        self.into = into

    def extra_repr(self) -> str:
        return f"into {self.into}"
