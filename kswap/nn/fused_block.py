"""Grouped blocks by kernels in Triton: where those can run, and what they are given.

A block whose norms are fixed, or that has none, is one kernel: K, what follows it, the interleave, L, what follows it,
and the sum, with both paths of K and L and without a copy of replicated channels. Where norms take their statistics
from the batch, each layer is a kernel of its own. In both cases the backward pass computes K and L again, so that
training keeps the input of a block and no tensor of its inside. Triton is imported when a kernel runs, not before.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kswap.nn.block import Stage
from kswap.nn.grouped import GroupedPointwise
from kswap.nn.norms_and_activations import ACTIVATION_CLASSES
from kswap.nn.pointwise import GroupedLinear
from kswap.planner.layout import GroupedLayout


def is_interpreted() -> bool:
    """Whether Triton interprets its kernels on the CPU, which is for tests: ``TRITON_INTERPRET=1``."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def why_no_device() -> str | None:
    """Why nothing that is only for CUDA devices can run on this machine; ``None`` where it can."""
    if torch.cuda.is_available() or is_interpreted():
        return None
    return "there is no CUDA device here"


def why_no_kernels() -> str | None:
    """Why kernels in Triton cannot run on this machine; ``None`` where they can."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed: PyTorch for CUDA brings it on Linux, or pip install triton"
    return why_no_device()


def _names() -> dict[object, str]:
    """The names of the activations that the kernels know, by their classes."""
    from timm.layers import activations

    timms = {activations.GELU: "gelu", activations.Swish: "silu", activations.HardSwish: "hard_swish"}
    return {**{kind: name for name, kind in ACTIVATION_CLASSES.items()}, **timms}


def _batch_norms() -> tuple[type[nn.Module], ...]:
    from timm.layers.norm_act import BatchNormAct2d

    return nn.BatchNorm2d, BatchNormAct2d


def activation_name(*activations: nn.Module | None) -> str | None:
    """The name by which the kernels know what these activations compute together; ``None`` where they do not know it.

    >>> activation_name(nn.SiLU()), activation_name(None), activation_name(nn.PReLU())
    ('silu', 'identity', None)
    """
    found = [one for one in activations if one is not None and not isinstance(one, nn.Identity)]
    if not found:
        return "identity"
    if len(found) > 1 or getattr(found[0], "approximate", "none") != "none":
        return None
    return _names().get(type(found[0]))


@dataclass(frozen=True)
class FusedLayer:
    """Weight ``(filters, width)`` and bias of K or L, both paths after each other, and the name of what follows."""

    layout: GroupedLayout
    weight: Tensor
    bias: Tensor | None
    activation: str


def _is_known(stage: Stage) -> bool:
    """Whether the kernels can compute a stage: its kinds of layer, norm and activation."""
    layer = stage.layer
    if not isinstance(layer, GroupedPointwise):
        return False
    kinds = {type(convolution) for convolution in layer.convolutions}
    norm = stage.norm
    if norm is not None:
        if type(norm) not in _batch_norms():
            return False
        if not (
            norm.affine and norm.track_running_stats and isinstance(getattr(norm, "drop", None), nn.Identity | None)
        ):
            return False
    by_kernel = kinds == {nn.Conv2d} or (kinds == {GroupedLinear} and norm is None)
    return by_kernel and _activation_of(stage) is not None


def _activation_of(stage: Stage) -> str | None:
    """The name of the activation of a stage, which may be inside its norm."""
    inner = None if stage.norm is None else getattr(stage.norm, "act", None)
    return activation_name(inner, stage.activation)


def are_known(*stages: Stage | None) -> bool:
    """Whether there are kernels for a block of these stages.

    >>> from kswap.planner import plan_layer
    >>> layer = GroupedPointwise(plan_layer(64, 40, ch=16).k)
    >>> are_known(Stage("k", layer, nn.BatchNorm2d(40), nn.SiLU())), are_known(Stage("k", layer, nn.GroupNorm(1, 40)))
    (True, False)
    """
    return all(stage is None or _is_known(stage) for stage in stages)


def fused_layer(stage: Stage) -> FusedLayer:
    """A stage with a norm in eval mode multiplied into its weight; gradients reach the parameters."""
    layer, norm = stage.layer, stage.norm
    assert isinstance(layer, GroupedPointwise)
    weight, bias = _joined(layer)
    activation = _activation_of(stage)
    assert activation is not None
    if norm is not None and not norm.training:
        gamma, beta, mean, var = norm.weight, norm.bias, norm.running_mean, norm.running_var
        assert isinstance(gamma, Tensor) and isinstance(beta, Tensor)  # noqa: PT018
        assert isinstance(mean, Tensor) and isinstance(var, Tensor)  # noqa: PT018
        scale = gamma * torch.rsqrt(var + float(norm.eps))  # type: ignore[arg-type]
        bias = (beta - mean * scale if bias is None else beta + (bias - mean) * scale).to(weight.dtype)
        weight = weight * scale.to(weight.dtype)[:, None]
    return FusedLayer(layer.layout, weight, bias, activation)


def _joined(layer: GroupedPointwise) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of both paths, ``(filters, width)`` and ``(filters,)``."""
    weights, biases = [layer.first.weight], [layer.first.bias]
    if layer.second is not None:
        weights.append(layer.second.weight)
        biases.append(layer.second.bias)
    weight = torch.cat([one.flatten(1) for one in weights if isinstance(one, Tensor)])
    found = [one for one in biases if isinstance(one, Tensor)]
    return weight, torch.cat(found) if found else None


def fused_images(x: Tensor, k: FusedLayer, l: FusedLayer | None, step: int, with_sum: bool) -> Tensor:  # noqa: E741
    """A block without norms of ``x``, ``(N, C, H, W)``, by one kernel.

    ``step`` is that of the interleave before L, 1 for none; ``with_sum`` adds the outputs of K to those of L.
    """
    from kswap.nn.kernels.operators import grouped_block

    second = (None, None) if l is None else (l.weight, l.bias)
    found: Tensor = grouped_block(x, k.weight, k.bias, *second, *settings_of(k, l, step, with_sum))
    return found


def settings_of(k: FusedLayer, l: FusedLayer | None, step: int, with_sum: bool) -> tuple[object, ...]:  # noqa: E741
    """What the operators are told of a block beside its tensors; see :mod:`kswap.nn.kernels.operators`."""
    layouts = [[] if layer is None else list(dataclasses.astuple(layer.layout)) for layer in (k, l)]
    return *layouts, step, k.activation, "identity" if l is None else l.activation, with_sum
