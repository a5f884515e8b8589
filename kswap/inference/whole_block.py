"""A grouped block in eval mode as one module: by one kernel in Triton, or by batched matrix products."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from kswap.nn import GroupedBlock, Interleave
from kswap.nn.activation_functions import value
from kswap.nn.fused_block import FusedLayer, fused_images, fused_layer
from kswap.nn.fused_forward import as_images, as_output, kernels_compute


class WholeBlock(nn.Module):
    """A block with its norms multiplied into its weights, which are ``(filters, width)`` for K and for L.

    With ``by_kernel`` it is one kernel in Triton wherever those run, and otherwise grouped convolutions; without it,
    batched matrix products, one matrix per group of each path.

    >>> from kswap.planner import plan_layer
    >>> block = GroupedBlock(plan_layer(64, 40, ch=16), nn.BatchNorm2d(40), nn.SiLU()).eval()
    >>> x = torch.randn(2, 64, 3, 3)
    >>> torch.allclose(WholeBlock(block, by_kernel=False)(x), block(x), atol=1e-5)
    True
    """

    k_weight: Tensor
    k_bias: Tensor | None
    l_weight: Tensor
    l_bias: Tensor | None

    def __init__(self, block: GroupedBlock, by_kernel: bool) -> None:
        super().__init__()
        exact = copy.deepcopy(block).double().eval().requires_grad_(False)
        dtype = block.weight.dtype
        layers = [None if stage is None else fused_layer(stage) for stage in exact.fused_stages()]
        for name, layer in zip("kl", layers, strict=True):
            for part in ("weight", "bias"):
                tensor = None if layer is None else getattr(layer, part)
                held = None if tensor is None else nn.Parameter(tensor.to(dtype), requires_grad=False)
                self.register_parameter(f"{name}_{part}", held)
        k = layers[0]
        assert k is not None
        self.layouts = k.layout, None if layers[1] is None else layers[1].layout
        self.activations = tuple("identity" if layer is None else layer.activation for layer in layers)
        self.step = 1 if block.interleave is None else block.interleave.step
        self.sums, self.stride, self.by_kernel = block.sums, tuple(block.stride), by_kernel
        self.interleave = Interleave(block.out_channels, self.step, block.weight.device) if self.step > 1 else None

    def _layers(self) -> tuple[FusedLayer, FusedLayer | None]:
        k, l = self.layouts  # noqa: E741 - K and L are the names of the papers
        first = FusedLayer(k, self.k_weight, self.k_bias, self.activations[0])
        return first, None if l is None else FusedLayer(l, self.l_weight, self.l_bias, self.activations[1])

    def forward(self, x: Tensor) -> Tensor:
        k, l = self._layers()  # noqa: E741
        images = as_images(x, self.stride)
        if self.by_kernel and kernels_compute(x, self, k.weight, k.layout.in_channels, len(self.stride)):
            y = fused_images(images, k, l, self.step, self.sums)
        else:
            y = self._layer(images, k)
            if l is not None:
                second = self._layer(self._interleaved(y), l)
                y = y + second if self.sums else second
        return as_output(y if l is not None else self._interleaved(y), x, self.stride)

    def _interleaved(self, x: Tensor) -> Tensor:
        return x if self.interleave is None else self.interleave(x)

    def _layer(self, x: Tensor, layer: FusedLayer) -> Tensor:
        """Both paths of K or L, and what follows."""
        layout, bias = layer.layout, layer.bias
        if layout.replicated:
            x = torch.cat([x, x.narrow(1, 0, layout.replicated)], 1)
        filters = layout.groups * layout.filters_per_group
        y = self._path(x, layer.weight[:filters], None if bias is None else bias[:filters], layout.groups)
        if layout.extra_groups:
            x = x.narrow(1, 0, layout.extra_groups * layout.group_width)
            rest = None if bias is None else bias[filters:]
            y = torch.cat([y, self._path(x, layer.weight[filters:], rest, layout.extra_groups)], 1)
        return value(layer.activation, y)

    def _path(self, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        """One path: ``weight`` is ``(filters, width)``."""
        if self.by_kernel:
            return nn.functional.conv2d(x, weight[:, :, None, None], bias, groups=groups)
        return batched_products(x, weight, bias, groups)

    def extra_repr(self) -> str:
        return f"by_kernel={self.by_kernel}"


def batched_products(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    """A grouped pointwise convolution of ``(N, C, H, W)`` as batched matrix products, in the memory format of ``x``.

    ``weight`` is ``(filters, width)``. With channels side by side, pixels are the rows of one product per group;
    otherwise they are the columns of one product per sample and group.
    """
    n, channels, height, width = x.shape
    matrices = weight.view(groups, -1, weight.shape[1])
    if channels > 1 and x.stride(1) == 1:
        rows = x.permute(0, 2, 3, 1).reshape(-1, groups, weight.shape[1]).transpose(0, 1)
        y = torch.bmm(rows, matrices.transpose(1, 2)).transpose(0, 1)
        y = y.reshape(n, height, width, len(weight)).permute(0, 3, 1, 2)
    else:
        columns = x.reshape(n, groups, -1, height * width)
        y = torch.matmul(matrices, columns).view(n, len(weight), height, width)
    return y if bias is None else y + bias.view(-1, 1, 1)
