"""The forward pass of a grouped block by kernels in Triton, over the parameters and buffers of the block itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kswap.nn.block import Stage
from kswap.nn.fused_block import FusedLayer, fused_images, fused_layer, is_interpreted, settings_of
from kswap.nn.merged_groups import is_altered, is_unobserved
from kswap.nn.pointwise import stride_of

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def kernels_compute(x: Tensor, block: nn.Module, weight: Tensor, channels: int, spatial: int) -> bool:
    """Whether the kernels may compute ``block`` on ``x``, which has to have ``channels`` and so many dimensions.

    They do on the current CUDA device, and on CPUs under Triton's interpreter. Compilers and exporters see their
    operators; counters of operators, forward gradients, transforms of ``torch.func`` and hooks see the stock ones.
    """
    kind = x.device.type
    if kind != "cuda" and not (kind == "cpu" and is_interpreted()):
        return False
    if not torch.compiler.is_compiling():
        if not is_unobserved(x):
            return False
        if kind == "cuda" and x.device.index != torch.cuda.current_device():
            return False  # Triton starts kernels on the current device
    if (spatial and x.ndim != 2 + spatial) or x.ndim < 2 or x.shape[1 if spatial else -1] != channels:
        return False
    dtype = computed_in(x)
    if dtype not in _DTYPES and not (dtype == torch.float64 and is_interpreted()):
        return False
    if dtype != weight.dtype and not torch.is_autocast_enabled(kind):
        return False
    return not any(is_altered(part, type(part)) for part in block.modules() if part is not block)


def computed_in(x: Tensor) -> torch.dtype:
    """The dtype of a convolution of ``x``: under autocast, what that says."""
    kind = x.device.type
    if torch.is_autocast_enabled(kind) and x.dtype in _DTYPES:
        return torch.get_autocast_dtype(kind)
    return x.dtype


def as_images(x: Tensor, stride: tuple[int, ...]) -> Tensor:
    """``x`` as ``(N, C, H, W)`` without what a strided layer leaves out: a view, where the layout of ``x`` allows it.

    ``stride`` is that of the layer, empty for a linear one.
    """
    if not stride:
        return x.reshape(-1, x.shape[-1], 1, 1)
    return x if set(stride) == {1} else x[:, :, :: stride[0], :: stride[1]]


def as_output(y: Tensor, x: Tensor, stride: tuple[int, ...]) -> Tensor:
    """``y``, of the images that :func:`as_images` made of ``x``, in the shape of the layer's output."""
    return y if stride else y.reshape(*x.shape[:-1], y.shape[1])


def fused_forward(
    x: Tensor,
    block: nn.Module,
    k: Stage,
    l: Stage | None,  # noqa: E741 - K and L are the names of the papers
    step: int,
    with_sum: bool,
) -> Tensor | None:
    """The output of ``block`` of these stages, or ``None`` where the kernels cannot compute it on ``x``.

    ``step`` is that of the interleave before L, 1 for none. Running statistics of norms in training mode are updated.
    """
    first = k.layer.first
    assert isinstance(first, nn.Module)
    assert isinstance(first.weight, Tensor)
    stride = stride_of(first)
    if not kernels_compute(x, block, first.weight, k.layer.layout.in_channels, len(stride)):  # type: ignore[union-attr, arg-type]
        return None
    by_batch = [stage.norm is not None and stage.norm.training for stage in (k, l) if stage is not None]
    images = as_images(x.to(computed_in(x)), stride)
    if len(set(by_batch)) > 1 or (by_batch[0] and images.numel() <= images.shape[1]):
        return None  # norms in different modes; a single value per channel, of which the stock norm says more
    folded = [None if stage is None else _cast(fused_layer(stage), images.dtype) for stage in (k, l)]
    assert folded[0] is not None
    if by_batch[0]:
        y = _by_batch(images, folded[0], folded[1], k, l, step, with_sum)
    else:
        y = fused_images(images, folded[0], folded[1], step, with_sum)
    return as_output(y, x, stride)


def _cast(layer: FusedLayer, dtype: torch.dtype) -> FusedLayer:
    bias = None if layer.bias is None else layer.bias.to(dtype)
    return FusedLayer(layer.layout, layer.weight.to(dtype), bias, layer.activation)


def _by_batch(
    x: Tensor,
    k: FusedLayer,
    l: FusedLayer | None,  # noqa: E741
    k_stage: Stage,
    l_stage: Stage | None,
    step: int,
    with_sum: bool,
) -> Tensor:
    """With norms that take their statistics from the batch, and update the running ones."""
    from kswap.nn.kernels.operators import grouped_block_batch_norm

    k_norm, l_norm = k_stage.norm, None if l_stage is None else l_stage.norm
    assert k_norm is not None
    second = (None, None) if l is None else (l.weight, l.bias)
    of_l = (None, None) if l_norm is None else (l_norm.weight, l_norm.bias)
    y, *statistics = grouped_block_batch_norm(
        x, k.weight, k.bias, k_norm.weight, k_norm.bias, *second, *of_l, *settings_of(k, l, step, with_sum),
        k_norm.eps, k_norm.eps if l_norm is None else l_norm.eps,
    )  # fmt: skip
    pixels = x.numel() // x.shape[1]
    count_(k_norm, statistics[0], statistics[1], pixels)
    if l_norm is not None:
        count_(l_norm, statistics[2], statistics[3], pixels)
    found: Tensor = y
    return found


@torch.no_grad()
def count_(norm: nn.Module, mean: Tensor, var: Tensor, pixels: int) -> None:
    """Update running statistics as :class:`torch.nn.BatchNorm2d` does; ``var`` is divided by ``pixels``."""
    running_mean, running_var, batches = norm.running_mean, norm.running_var, norm.num_batches_tracked
    assert isinstance(running_mean, Tensor) and isinstance(running_var, Tensor)  # noqa: PT018
    assert isinstance(batches, Tensor)
    batches.add_(1)
    for running, new in ((running_mean, mean), (running_var, var * (pixels / (pixels - 1)))):
        share = batches.to(running.dtype).reciprocal() if norm.momentum is None else norm.momentum
        running.lerp_(new.to(running.dtype), share)  # type: ignore[arg-type]
