"""DenseNet-BC with 100 layers and growth rate 12, as the authors' kDenseNet has it."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from kswap.nn.grouped import Interleave
from kswap.zoo.init import glorot_uniform_
from kswap.zoo.network import AuthorsNames, PaperNetwork, activation_named, batch_norm

_GROWTH = 12
_LAYERS = 16
_BLOCKS = 3
_EPSILON = 1.001e-5


def _norm(channels: int) -> nn.BatchNorm2d:
    return batch_norm(channels, epsilon=_EPSILON)


class DenseLayer(nn.Module):
    """Pointwise to four times the growth rate, 3x3 to the growth rate, concatenated to the input.

    The activations come before the convolutions, or with ``acts_behind`` after them.
    """

    def __init__(self, inputs: int, activation: str, acts_behind: bool) -> None:
        super().__init__()
        wide = 4 * _GROWTH
        self.acts_behind = acts_behind
        self.norm = _norm(inputs)
        self.act = nn.Identity() if acts_behind else activation_named(activation)()
        self.pointwise = nn.Conv2d(inputs, wide, 1, bias=False)
        self.pointwise_act = activation_named(activation)() if acts_behind else nn.Identity()
        self.grow_norm = _norm(wide)
        self.grow_act = nn.Identity() if acts_behind else nn.ReLU()
        self.grow = nn.Conv2d(wide, _GROWTH, 3, padding=1, bias=False)
        self.grown_act = nn.ReLU() if acts_behind else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.pointwise_act(self.pointwise(self.act(self.norm(x))))
        return torch.cat([x, self.grown_act(self.grow(self.grow_act(self.grow_norm(y))))], dim=1)


class Transition(nn.Module):
    """Halves the channels and both sides; the interleave before it is optional."""

    def __init__(self, inputs: int, activation: str, acts_behind: bool, interleave: bool) -> None:
        super().__init__()
        self.interleave = Interleave(inputs, _GROWTH) if interleave else nn.Identity()
        self.norm = _norm(inputs)
        self.act = nn.Identity() if acts_behind else activation_named(activation)()
        self.pointwise = nn.Conv2d(inputs, inputs // 2, 1, bias=False)
        self.pointwise_act = activation_named(activation)() if acts_behind else nn.Identity()
        self.pool = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pointwise(self.act(self.norm(self.interleave(x))))
        pooled: Tensor = self.pool(self.pointwise_act(x))
        return pooled


class DenseNetBC(PaperNetwork):
    """DenseNet-BC L100 k12 for 32x32 inputs: a bias in the first convolution, epsilon 1.001e-5, no first activation.

    The authors' converted network arranges its layers in another order, which no rule can say.

    Args:
        num_classes: outputs of the classifier.
        in_chans: input channels.
        activation: activation of the pointwise convolutions and of the end of the features: ReLU in the baseline,
            ``"silu"`` in the converted network.
        acts_behind: activations come after the convolutions (norm, K and L with swish, norm, 3x3 with ReLU), as in
            the converted network, and not before them.
        interleave: an interleave with the growth rate as its step before the norm of each transition, as in the
            "extra interleave" rows. In the one graph of them that is known, Ch is 12 like the growth rate.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        activation: str = "relu",
        acts_behind: bool = False,
        interleave: bool = False,
    ) -> None:
        channels = 2 * _GROWTH
        features: OrderedDict[str, nn.Module] = OrderedDict()
        for block in range(1, _BLOCKS + 1):
            for layer in range(1, _LAYERS + 1):
                features[f"block{block}_{layer}"] = DenseLayer(channels, activation, acts_behind)
                channels += _GROWTH
            if block < _BLOCKS:
                features[f"transition{block}"] = Transition(channels, activation, acts_behind, interleave)
                channels //= 2
        super().__init__(num_classes, in_chans, channels, 32)
        self.stem_conv = nn.Conv2d(in_chans, 2 * _GROWTH, 3, padding=1)
        self.features = nn.Sequential(features)
        self.head_norm = _norm(channels)
        self.head_act = activation_named(activation)()
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.head_drop = nn.Identity()
        self.classifier = nn.Linear(channels, num_classes)
        glorot_uniform_(self)

    def forward_features(self, x: Tensor) -> Tensor:
        features: Tensor = self.head_act(self.head_norm(self.features(self.stem_conv(x))))
        return features

    def authors_names(self, converted: bool) -> AuthorsNames:
        """Most layers there have no name of their own and are numbered in the order of the network."""
        layers = {"stem_conv": "conv2d", "head_norm": "bn", "classifier": "softmax"}
        blocks: dict[str, tuple[str, str | None]] = {}
        convs, norms = 1, 0
        for name, module in self.features.named_children():
            ours = f"features.{name}"
            if isinstance(module, Transition):
                base = f"dn{name}"
                layers[f"{ours}.norm"] = f"{base}_bn"
            else:
                base = f"dn{name.removeprefix('block').replace('_', '_b')}_k"
                layers[f"{ours}.norm"] = _numbered("batch_normalization", norms)
                layers[f"{ours}.grow_norm"] = _numbered("batch_normalization", norms + 1)
                norms += 2
            if converted:
                blocks[f"{ours}.pointwise"] = (base, None)
            else:
                layers[f"{ours}.pointwise"] = _numbered("conv2d", convs)
                convs += 1
            if isinstance(module, DenseLayer):
                layers[f"{ours}.grow"] = _numbered("conv2d", convs)
                convs += 1
        return AuthorsNames(layers, blocks)


def _numbered(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name
