"""The block that takes the place of one pointwise convolution: K, interleave, L, sum."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from kswap.errors import PlanError
from kswap.nn.execution import Execution
from kswap.nn.grouped import GroupedPointwise, Interleave
from kswap.nn.pointwise import stride_of
from kswap.planner.schemes import LayerPlan


class PointwiseBlock(nn.Module):
    """``k = act(norm(K x))``; with a second layer the output is ``k + act(norm(L(interleave(k))))``.

    Without a second layer it is ``k``, interleaved where the plan says so (scheme v1). ``norm`` and
    ``activation`` may be ``None``; K and L get a copy each (2022 paper, section 3). The block has the sizes of
    the layer that it stands for as attributes: ``in_channels`` to ``groups`` of a convolution, ``in_features``
    and ``out_features`` of a linear layer.

    >>> import torch
    >>> from kswap.planner import plan_layer
    >>> block = PointwiseBlock(plan_layer(64, 40, ch=16), norm=nn.BatchNorm2d(40), activation=nn.SiLU())
    >>> block(torch.zeros(1, 64, 8, 8)).shape
    torch.Size([1, 40, 8, 8])
    """

    def __init__(
        self,
        plan: LayerPlan,
        norm: nn.Module | None = None,
        activation: nn.Module | None = None,
        replaces: nn.Module | None = None,
    ) -> None:
        """``plan`` with ``plan.k`` set; ``replaces`` gives the kind of layer, stride, bias, device, dtype and
        whether to train (without it: a ``Conv2d`` without bias)."""
        super().__init__()
        if plan.k is None:
            raise ValueError(f"this plan keeps the convolution: {plan.reason}")
        self.plan = plan
        self.in_channels = plan.in_channels
        self.out_channels = plan.out_channels
        like = nn.Conv2d(1, 1, 1, bias=False) if replaces is None else replaces
        self.stride = stride_of(like)
        if self.stride:
            dims = len(self.stride)
            self.kernel_size, self.padding, self.dilation = (1,) * dims, (0,) * dims, (1,) * dims
            self.groups = 1
        else:
            self.in_features, self.out_features = plan.in_channels, plan.out_channels
        weight = like.weight
        assert isinstance(weight, Tensor)
        self.k = GroupedPointwise(plan.k, like)
        self.k_norm = copy.deepcopy(norm)
        self.k_act = copy.deepcopy(activation)
        self.interleave: Interleave | None = None
        if plan.interleave_step is not None:
            self.interleave = Interleave(plan.out_channels, plan.interleave_step, weight.device, self.k.dim)
        self.l: GroupedPointwise | None = None
        if plan.l is not None:
            self.l = GroupedPointwise(plan.l, like, strided=False)
            self.l_norm = copy.deepcopy(norm)
            self.l_act = copy.deepcopy(activation)
        for layer in self.grouped_layers:
            layer.requires_grad_(weight.requires_grad)

    @property
    def grouped_layers(self) -> tuple[GroupedPointwise, ...]:
        """K and, where there is one, L."""
        return (self.k,) if self.l is None else (self.k, self.l)

    @property
    def weight(self) -> Tensor:
        """The weight of K's first path, for models that ask a layer for its device or dtype."""
        weight = self.k.first.weight
        assert isinstance(weight, Tensor)
        return weight

    @property
    def bias(self) -> Tensor | None:
        """The bias of K's first path, for models that ask whether a layer has one."""
        bias = self.k.first.bias
        return bias if isinstance(bias, Tensor) else None

    def compute_as_(self, k: Execution | None, l: Execution | None = None) -> None:  # noqa: E741
        """Choose how K and L are computed, in place; ``None`` is as they stand. What they compute, parameters and
        state dict stay.

        A dense L takes in the interleave. Raises :class:`kswap.errors.PlanError` for an execution that does not
        fit, or that is not for this kind of layer.

        >>> from kswap.planner import plan_layer
        >>> block = PointwiseBlock(plan_layer(64, 48, ch=16))
        >>> block.compute_as_(Execution(4), Execution(1))
        """
        if l is not None and self.l is None:
            raise PlanError("this block has no second layer: choose no execution for it")
        self.k.compute_as_(k)
        if self.interleave is not None:
            self.interleave.compute_as_(self.k.computation is not None)
        if self.l is not None:
            taken = l is not None and l.is_dense and self.interleave is not None
            self.l.compute_as_(l, self.interleave.order if taken and self.interleave is not None else None)

    def forward(self, x: Tensor) -> Tensor:
        k: Tensor = self.k(x)
        if self.k_norm is not None:
            k = self.k_norm(k)
        if self.k_act is not None:
            k = self.k_act(k)
        taken = self.l is not None and self.l.computation is not None and self.l.computation.has_order
        mixed: Tensor = k if self.interleave is None or taken else self.interleave(k)
        if self.l is None:
            return mixed
        second: Tensor = self.l(mixed)
        if self.l_norm is not None:
            second = self.l_norm(second)
        if self.l_act is not None:
            second = self.l_act(second)
        return k + second

    def extra_repr(self) -> str:
        stride = f", stride={self.stride}" if self.stride else ""
        return f"{self.in_channels}, {self.out_channels}, {self.plan.short()}{stride}"


class Absorbed(nn.Identity):
    """Stands where a norm or activation was that a block has taken in; passes its input through."""

    def __init__(self, into: str) -> None:
        super().__init__()
        self.into = into

    def extra_repr(self) -> str:
        return f"into {self.into}"
