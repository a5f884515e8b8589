"""Pointwise layers by kind: which layers are one, what it computes, and grouped layers of the same kind.

A 1x1 :class:`torch.nn.Conv2d`, a kernel of 1 in :class:`torch.nn.Conv1d` or :class:`torch.nn.Conv3d`, and a
:class:`torch.nn.Linear` are the same map, on another dimension of their input. A subclass counts as what it
computes: timm's weight-standardised convolutions stay of their own kind, "same" padding has nothing to add
to a 1x1 kernel, and a class with a forward pass of its own counts where that is found to compute the plain map.
"""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from kswap.nn.plain_map import computes_plain_map

_CONVOLUTIONS: dict[str, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {
    "conv": nn.Conv2d,
    "conv1d": nn.Conv1d,
    "conv3d": nn.Conv3d,
}
_SPATIAL = {"linear": 0, "conv1d": 1, "conv": 2, "conv3d": 3}


@cache
def _standardised() -> tuple[type[nn.Conv2d], ...]:
    """timm's convolutions whose weight is standardised for each filter by itself."""
    from timm.layers.std_conv import ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame

    return StdConv2d, StdConv2dSame, ScaledStdConv2d, ScaledStdConv2dSame


@cache
def _same_padded() -> tuple[type[nn.Conv2d], ...]:
    """timm's convolutions that pad as TensorFlow does: k - 1 at most, which is nothing for a kernel of 1."""
    from timm.layers.conv2d_same import Conv2dSame, Conv2dSameExport

    return Conv2dSame, Conv2dSameExport


def _is_transposed_linear(module: nn.Module) -> bool:
    """Whether ``module`` is the Conv1D of GPT-2: a linear layer with its weight transposed."""
    return type(module).__name__ == "Conv1D" and type(module).__module__ == "transformers.pytorch_utils"


def kind_of(module: nn.Module) -> str | None:
    """The kind of a dense pointwise layer, one of :data:`kswap.planner.sites.LAYER_KINDS`; ``None`` for all else.

    >>> kind_of(nn.Conv2d(8, 8, 1)), kind_of(nn.Linear(8, 8)), kind_of(nn.Conv2d(8, 8, 3))
    ('conv', 'linear', None)
    """
    if isinstance(module, nn.Linear) or _is_transposed_linear(module):
        return "linear"
    for kind, base in _CONVOLUTIONS.items():
        if isinstance(module, base):
            return kind if set(module.kernel_size) == {1} and module.groups == 1 else None
    return None


def channels_of(module: nn.Module) -> tuple[int, int]:
    """Input and output channels of a pointwise layer."""
    labels = ("in_features", "out_features") if isinstance(module, nn.Linear) else ("in_channels", "out_channels")
    if _is_transposed_linear(module):
        labels = ("nx", "nf")
    found = [getattr(module, label) for label in labels]
    return found[0], found[1]


def stride_of(module: nn.Module) -> tuple[int, ...]:
    """The stride in each spatial dimension of a pointwise layer; empty for a linear one."""
    return tuple(getattr(module, "stride", ()))


def channel_dim(module: nn.Module) -> int:
    """The dimension of the channels, counted from the end: -1 for a linear layer, -3 for a Conv2d."""
    return -1 - _SPATIAL[kind_of(module) or "conv"]


def standardises(module: nn.Module) -> bool:
    """Whether ``module`` is one of timm's weight-standardised convolutions."""
    return type(module) in _standardised()


def filter_params(module: nn.Module) -> int:
    """Parameters for each filter beside weight and bias: 1 where a standardised weight has a gain."""
    return int(standardises(module) and hasattr(module, "gain"))


def fewest_inputs(module: nn.Module) -> int:
    """The fewest inputs that a group may have: the spread of a single weight cannot be standardised."""
    return 2 if standardises(module) else 1


def why_not_replaced(module: nn.Module, in_shape: tuple[int, ...] | None = None) -> str | None:
    """Why a pointwise layer cannot be replaced by grouped ones of its kind, whatever its channels.

    A class with a forward pass of its own is tried on an input of ``in_shape``, or of a small one.
    """
    kind = type(module)
    if isinstance(module.weight, Tensor) and module.weight.is_complex():
        return f"its weight is complex ({str(module.weight.dtype).removeprefix('torch.')}): blocks are real"
    if parametrize.is_parametrized(module):
        return "its weight is parametrized: remove the parametrization first"
    if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
        return "it carries hooks that a replacement would lose"
    if _is_transposed_linear(module):
        return f"{kind.__name__} holds its weight transposed, and is not a Linear"
    padding = getattr(module, "padding", "valid")
    if padding not in ("same", "valid") and any(padding):
        return f"padded by {padding}: a pointwise convolution has no border"
    if kind in (*_standardised(), *_same_padded()) and "forward" not in vars(module):
        return None
    base = nn.Linear if isinstance(module, nn.Linear) else _CONVOLUTIONS[kind_of(module) or "conv"]
    own = (getattr(kind, name, None) is not getattr(base, name, None) for name in ("forward", "_conv_forward"))
    if (any(own) or "forward" in vars(module)) and not computes_plain_map(module, in_shape or _small_shape(module)):
        return f"{kind.__name__} computes its output in its own way, not as {base.__name__} does"
    return None


def _small_shape(module: nn.Module) -> tuple[int, ...]:
    """A shape that ``module`` takes: two samples, and a few positions in each dimension."""
    channels, dims = channels_of(module)[0], _SPATIAL[kind_of(module) or "conv"]
    return (2, channels, *range(5, 5 + dims)) if dims else (2, 5, channels)


class GroupedLinear(nn.Module):
    """A linear layer on the last dimension in groups: input ``(..., G * w)``, output ``(..., out_features)``.

    ``weight`` is ``(out_features, w)``, as that of a grouped 1x1 convolution without its two last dimensions.

    >>> GroupedLinear(12, 8, groups=4)(torch.zeros(2, 5, 12)).shape
    torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        groups: int,
        bias: bool = True,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.groups = groups
        width = in_features // groups
        self.weight = nn.Parameter(torch.empty(out_features, width, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(out_features, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Torch's own initialisation of a linear layer with as many inputs as a group has."""
        limit = self.weight.shape[1] ** -0.5
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -limit, limit)

    def forward(self, x: Tensor) -> Tensor:
        if self.groups == 1:
            return F.linear(x, self.weight, self.bias)
        filters, width = self.out_features // self.groups, self.in_features // self.groups
        grouped = x.reshape(math.prod(x.shape[:-1]), self.groups, width).transpose(0, 1)
        weight = self.weight.reshape(self.groups, filters, width).transpose(1, 2)
        if self.bias is None:
            out = torch.bmm(grouped, weight)
        else:
            out = torch.baddbmm(self.bias.reshape(self.groups, 1, filters), grouped, weight)
        return out.transpose(0, 1).reshape(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, groups={self.groups}, bias={self.bias is not None}"


def grouped_like(
    layer: nn.Module, channels: int, filters: int, groups: int, strided: bool, bias: bool = True
) -> nn.Module:
    """A grouped pointwise layer of the kind of ``layer``, with fresh weights.

    Device and dtype are those of ``layer``, the bias too unless ``bias`` is false, the stride where it is ``strided``.
    A weight-standardised layer has the same eps, gamma and initial gain.

    >>> grouped_like(nn.Conv2d(8, 8, 1, stride=2), 16, 8, groups=4, strided=True)
    Conv2d(16, 8, kernel_size=(1, 1), stride=(2, 2), groups=4)
    """
    weight = layer.weight
    assert isinstance(weight, Tensor)
    common = {"bias": bias and layer.bias is not None, "device": weight.device, "dtype": weight.dtype, "groups": groups}
    if isinstance(layer, nn.Linear):
        return GroupedLinear(channels, filters, **common)  # type: ignore[arg-type]
    kind: type[nn.Module] = _CONVOLUTIONS[kind_of(layer) or "conv"]
    if standardises(layer):
        kind = type(layer)
        common["eps"] = layer.eps
        if filter_params(layer):
            fan_in = weight[0].numel()
            common |= {"gamma": layer.scale * fan_in**0.5, "gain_init": layer.gain_init}
    stride = stride_of(layer)
    return kind(channels, filters, 1, stride=stride if strided else (1,) * len(stride), padding=0, **common)
