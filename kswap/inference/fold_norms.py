"""Norms folded into the layers before them, over a whole model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from kswap.errors import DeployError
from kswap.graph.conv_norm_act import Chains
from kswap.graph.observe import observe
from kswap.nn.affine_norm import in_order, scale_and_shift, split_norm
from kswap.nn.channel_order import ChannelOrder
from kswap.nn.norms_and_activations import is_norm, type_name
from kswap.nn.pointwise import standardises

_PLAIN = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


# What others look for on a norm before they fold it themselves, as `fuse()` of many models does.
_OF_A_NORM = ("running_mean", "running_var", "num_batches_tracked", "weight", "bias", "eps", "momentum", "num_features")


class FoldedNormError(DeployError, AttributeError):
    """A norm that kswap has folded was asked for its statistics."""


class FoldedNorm(nn.Identity):
    """Stands where a norm was that is folded into the layer before it; passes its input through.

    >>> FoldedNorm().running_mean
    Traceback (most recent call last):
    kswap.inference.fold_norms.FoldedNormError: kswap has folded this norm into the layer before it: do not fuse an \
    optimised model again, it is fused already
    """

    def __getattr__(self, name: str) -> Any:
        if name in _OF_A_NORM:
            raise FoldedNormError(
                "kswap has folded this norm into the layer before it: do not fuse an optimised model again, "
                "it is fused already"
            )
        return super().__getattr__(name)


@dataclass(frozen=True)
class FoldedNorms:
    """The names of the norms that were folded, and of those that were kept, each with the reason."""

    folded: tuple[str, ...]
    kept: Mapping[str, str]


def fold_norms_(model: nn.Module, inputs: tuple[Any, ...]) -> FoldedNorms:
    """Fold every batch norm of ``model``, in eval mode, into the convolution or linear layer before it.

    In place. A norm is kept where it is no fixed scale and shift, where its input has other users, where it or the
    layer is called several times, and where weights are shared or read elsewhere.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.BatchNorm2d(8)).eval()
    >>> fold_norms_(model, (torch.zeros(1, 3, 4, 4),))
    FoldedNorms(folded=('1',), kept={'3': 'no convolution or linear layer that can take it in stands before it'})
    """
    observation = observe(model, inputs)
    chains = Chains(model, observation.graph, observation)
    holders = Counter(id(p) for m in model.modules() for p in m._parameters.values() if p is not None)
    folded, reasons = [], dict[str, str]()
    for name, layer in list(model.named_modules()):
        if not _is_plain(layer) or name not in chains.nodes:
            continue
        shared = any(holders[id(p)] > 1 for p in layer.parameters(recurse=False))
        fixed = f"{name} shares its weights" if shared else chains.why_not_free(name)
        order = _order_after(chains, name)
        norm, _, broken = chains.follow(name if order is None else order)
        if fixed or norm is None:
            reasons[name] = fixed or (f"{name}: {broken}" if broken else "")
            continue
        core, rest = split_norm(model.get_submodule(norm.name))
        if core is not None:
            _scale_(layer, core, None if order is None else model.get_submodule(order))
            model.set_submodule(norm.name, in_order(rest) or FoldedNorm())
            folded.append(norm.name)
    kept = {
        name: _why_kept(chains, name, module, reasons)
        for name, module in model.named_modules()
        if is_norm(module) and name not in folded
    }
    return FoldedNorms(tuple(folded), kept)


def _why_kept(chains: Chains, name: str, norm: nn.Module, reasons: Mapping[str, str]) -> str:
    """Why a norm is still there; ``reasons`` says why layers before norms could not take one in."""
    if split_norm(norm)[0] is None:
        return f"{type_name(norm)} is no fixed scale and shift in eval mode"
    node = chains.nodes.get(name)
    if node is None:
        return "it was not called on the example input"
    before = node.all_input_nodes[0] if node.all_input_nodes else None
    while before is not None and isinstance(chains.module(before), nn.Identity):
        before = before.all_input_nodes[0] if before.all_input_nodes else None
    layer = str(before.target) if before is not None and before.op == "call_module" else ""
    return reasons.get(layer) or "no convolution or linear layer that can take it in stands before it"


@cache
def _plain_forwards() -> tuple[object, ...]:
    from timm.layers.conv2d_same import Conv2dSame

    return (*(kind.forward for kind in _PLAIN), Conv2dSame.forward)


def _is_plain(layer: nn.Module) -> bool:
    """Whether scaling the filters of ``layer`` one by one scales its outputs, and nothing else."""
    own = "forward" in vars(layer) or parametrize.is_parametrized(layer)
    if own or not isinstance(layer, _PLAIN) or type(layer).forward not in _plain_forwards():
        return False
    return isinstance(layer, nn.Linear) or any(
        type(layer)._conv_forward is kind._conv_forward for kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    )


def _order_after(chains: Chains, name: str) -> str | None:
    """The name of an order of the filters of a convolution, each at most once, that alone reads its output."""
    following = chains.after(chains.nodes[name])
    module = chains.module(following)
    if following is None or not isinstance(module, ChannelOrder) or isinstance(chains.modules[name], nn.Linear):
        return None
    indices, order = module.indices("order"), str(following.target)
    return order if len(set(indices)) == len(indices) and chains.why_not_free(order) is None else None


@torch.no_grad()
def _scale_(layer: nn.Module, norm: nn.Module, order: nn.Module | None = None) -> None:
    """Multiply a norm into a layer, in place; ``order`` stands between them. Filters that it leaves out stay."""
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    if isinstance(order, ChannelOrder):
        taken = torch.tensor(order.indices("order"))
        whole = torch.ones(len(weight)).double(), torch.zeros(len(weight)).double()
        scale, shift = (
            every.index_copy(0, taken, own) for every, own in zip(whole, scale_and_shift(norm, len(taken)), strict=True)
        )
    else:
        scale, shift = scale_and_shift(norm, len(weight))
    if isinstance(bias, Tensor):
        shift = shift + bias.cpu().double() * scale
    scaled = weight.cpu().double() * scale.reshape(-1, *(1,) * (weight.ndim - 1))
    layer.weight = nn.Parameter(scaled.to(weight), requires_grad=False)
    layer.bias = nn.Parameter(shift.to(weight), requires_grad=False)


class _Caught(TorchFunctionMode):
    """Records the weight with which a convolution is called."""

    weight: Tensor | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.conv2d:
            self.weight = args[1]
        return func(*args, **(kwargs or {}))


def standardise_once_(model: nn.Module) -> tuple[str, ...]:
    """Weight-standardised convolutions become plain ones with the weight that they compute at each call.

    In place, in eval mode; returns their names.
    """
    names = tuple(name for name, module in model.named_modules() if standardises(module))
    for name in names:
        layer = model.get_submodule(name)
        model.set_submodule(name, _standardised(layer))
    return names


@torch.no_grad()
def _standardised(layer: nn.Module) -> nn.Conv2d:
    from timm.layers.conv2d_same import Conv2dSame

    assert isinstance(layer, nn.Conv2d)
    side = max(k * d for k, d in zip(layer.kernel_size, layer.dilation, strict=True))
    with _Caught() as caught:
        layer(layer.weight.new_zeros(1, layer.in_channels, side, side))
    assert caught.weight is not None
    sizes: dict[str, Any] = {
        name: getattr(layer, name) for name in ("kernel_size", "stride", "padding", "dilation", "groups")
    }
    plain: nn.Conv2d = (Conv2dSame if getattr(layer, "same_pad", False) else nn.Conv2d)(
        layer.in_channels,
        layer.out_channels,
        **sizes,
        bias=layer.bias is not None,
        device=layer.weight.device,
        dtype=layer.weight.dtype,
    )
    plain.weight.copy_(caught.weight)
    if plain.bias is not None and layer.bias is not None:
        plain.bias.copy_(layer.bias)
    return plain.eval().requires_grad_(False)
