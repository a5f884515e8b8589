"""The block of the papers: K, a channel interleave, L, and the sum K + L."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from kswap.errors import PlanError
from kswap.nn.block import ACTIVATION, LAYER, NORM, PointwiseBlock, Stage
from kswap.nn.fused_block import are_known
from kswap.nn.fused_forward import fused_forward
from kswap.nn.group_merging import GroupMerging
from kswap.nn.grouped import GroupedPointwise, Interleave
from kswap.planner.layer_plan import LayerPlan

# Which part of the replaced layer each child of a block stands for.
_PARTS = {"k": LAYER, "l": LAYER, "k_norm": NORM, "l_norm": NORM, "k_act": ACTIVATION, "l_act": ACTIVATION}


class GroupedBlock(PointwiseBlock):
    """``k = act(norm(K x))``; with a second layer the output is ``k + act(norm(L(interleave(k))))``.

    Without a second layer it is ``k``, interleaved where the plan says so (scheme v1); without the sum it is the
    second summand alone. ``norm`` and ``activation`` may be ``None``; K and L hold a copy each (2022 paper,
    section 3).

    >>> import torch
    >>> from kswap.planner import plan_layer
    >>> block = GroupedBlock(plan_layer(64, 40, ch=16), norm=nn.BatchNorm2d(40), activation=nn.SiLU())
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
        """Build the layers of ``plan``, whose ``k`` is set.

        Args:
            plan: the layout of K, interleave and L.
            norm: a norm over ``plan.out_channels``, copied for K and for L.
            activation: an activation, copied for K and for L.
            replaces: the layer that is replaced; it gives the type of the new layers, stride, bias, device, dtype
                and ``requires_grad``. ``None`` is a ``Conv2d`` without bias.
        """
        super().__init__(plan, replaces, norm, activation)
        assert plan.k is not None
        self.plan: LayerPlan = plan
        self.sums = plan.sum
        like = self.like(replaces)
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
        self.fused = False

    @property
    def grouped_layers(self) -> tuple[GroupedPointwise, ...]:
        """K and, where there is one, L."""
        return (self.k,) if self.l is None else (self.k, self.l)

    @property
    def layers(self) -> tuple[nn.Module, ...]:
        """The convolutions or linear layers of K, then of L."""
        return tuple(conv for layer in self.grouped_layers for conv in layer.convolutions)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """K, and where there is one, the interleave with L."""
        first = Stage("k", self.k, self.k_norm, self.k_act)
        if self.l is None:
            return (first,)
        second = self.l if self.interleave is None else nn.Sequential(self.interleave, self.l)
        return first, Stage("l", second, self.l_norm, self.l_act)

    def part_of(self, name: str) -> tuple[str, str]:
        """See :meth:`PointwiseBlock.part_of`."""
        child, _, rest = name.partition(".")
        part = _PARTS[child]
        return part, rest.rpartition(".")[2] if part == LAYER else rest

    def compute_as_(self, k: GroupMerging | None, l: GroupMerging | None = None) -> None:  # noqa: E741
        """Choose in which groups K and L are computed, in place; ``None`` is by the stock operators.

        What they compute, parameters and state dict are unchanged. Raises
        :class:`kswap.errors.PlanError` for a merging that does not fit, or layers whose groups cannot be merged.

        >>> from kswap.planner import plan_layer
        >>> block = GroupedBlock(plan_layer(64, 48, ch=16))
        >>> block.compute_as_(GroupMerging(4), GroupMerging(1))
        """
        if l is not None and self.l is None:
            raise PlanError("this block has no second layer: choose no merging for it")
        self.k.compute_as_(k)
        if self.l is not None:
            self.l.compute_as_(l)

    @property
    def can_fuse(self) -> bool:
        """Whether there are kernels in Triton for the block: for its layers, norms and activations."""
        return are_known(*self.fused_stages())

    def compute_fused_(self) -> None:
        """Compute the block by kernels in Triton on CUDA devices, in place; elsewhere nothing changes.

        What they compute, parameters and state dict are unchanged. Raises :class:`kswap.errors.PlanError` where there
        is no kernel for what the block holds.
        """
        if not self.can_fuse:
            raise PlanError(
                "there is no fused kernel for this block: its layers, its norm or its activation are of another kind"
            )
        self.fused = True

    def fused_stages(self) -> tuple[Stage, Stage | None]:
        """K and L with what follows them, the interleave left out."""
        k = Stage("k", self.k, self.k_norm, self.k_act)
        return k, None if self.l is None else Stage("l", self.l, self.l_norm, self.l_act)

    def _fused(self, x: Tensor) -> Tensor | None:
        """The output by kernels in Triton, or ``None`` where those cannot compute it."""
        step = 1 if self.interleave is None else self.interleave.step
        y = fused_forward(x, self, *self.fused_stages(), step, self.sums)
        return self.interleave(y) if y is not None and self.l is None and self.interleave is not None else y

    def forward(self, x: Tensor) -> Tensor:
        if self.fused and not torch.jit.is_scripting():  # type: ignore[attr-defined]
            fused = self._fused(x)
            if fused is not None:
                return fused
        k: Tensor = self.k(x)
        if self.k_norm is not None:
            k = self.k_norm(k)
        if self.k_act is not None:
            k = self.k_act(k)
        mixed: Tensor = k
        if self.interleave is not None:
            mixed = self.interleave(k)
        if self.l is None:
            return mixed
        second: Tensor = self.l(mixed)
        if self.l_norm is not None:
            second = self.l_norm(second)
        if self.l_act is not None:
            second = self.l_act(second)
        return k + second if self.sums else second


BLOCK = GroupedBlock
