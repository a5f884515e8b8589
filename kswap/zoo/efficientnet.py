"""EfficientNet B0 to B7, as the authors' kEffNet has them."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

from timm.layers import DropPath
from torch import Tensor, nn

from kswap.zoo.init import fan_out_normal_
from kswap.zoo.network import AuthorsNames, PaperNetwork, StridePad, activation_named, batch_norm

# Kernel, repeats, filters, expansion, stride: stage by stage, before scaling.
_STAGES = (
    (3, 1, 16, 1, 1),
    (3, 2, 24, 6, 2),
    (5, 2, 40, 6, 2),
    (3, 3, 80, 6, 2),
    (5, 3, 112, 6, 1),
    (5, 4, 192, 6, 2),
    (3, 1, 320, 6, 1),
)
# Width, depth, dropout, input size.
_SCALES = (
    (1.0, 1.0, 0.2, 224),
    (1.0, 1.1, 0.2, 240),
    (1.1, 1.2, 0.3, 260),
    (1.2, 1.4, 0.3, 300),
    (1.4, 1.8, 0.4, 380),
    (1.6, 2.2, 0.4, 456),
    (1.8, 2.6, 0.5, 528),
    (2.0, 3.1, 0.5, 600),
)
_DROP_CONNECT = 0.2


def scaled_filters(filters: int, width: float) -> int:
    """Filters times width, rounded to a multiple of 8 that is at least nine tenths of the product.

    >>> scaled_filters(32, 1.1), scaled_filters(320, 1.4)
    (32, 448)
    """
    wanted = filters * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


class SqueezeExcite(nn.Module):
    """A gate on the channels: mean, reduce, activation, expand, gate, multiply."""

    def __init__(
        self,
        channels: int,
        reduced: int,
        act: Callable[[], nn.Module] = nn.SiLU,
        gate: Callable[[], nn.Module] = nn.Sigmoid,
    ) -> None:
        super().__init__()
        self.squeeze = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, reduced, 1)
        self.act = act()
        self.expand = nn.Conv2d(reduced, channels, 1)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        gated: Tensor = x * self.gate(self.expand(self.act(self.reduce(self.squeeze(x)))))
        return gated


class InvertedResidual(nn.Module):
    """Expand, depthwise, squeeze-and-excite, project, and the sum with the input where the shapes allow."""

    def __init__(
        self,
        inputs: int,
        filters: int,
        kernel: int,
        stride: int,
        expansion: int,
        drop_connect: float,
    ) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expands = expansion != 1
        if self.expands:
            self.expand = nn.Conv2d(inputs, wide, 1, bias=False)
            self.expand_norm = batch_norm(wide)
            self.expand_act = nn.SiLU()
        self.pad = StridePad(kernel) if stride > 1 else nn.Identity()
        padding = 0 if stride > 1 else kernel // 2
        self.depthwise = nn.Conv2d(wide, wide, kernel, stride, padding, groups=wide, bias=False)
        self.depthwise_norm = batch_norm(wide)
        self.depthwise_act = nn.SiLU()
        self.se = SqueezeExcite(wide, max(1, inputs // 4))
        self.project = nn.Conv2d(wide, filters, 1, bias=False)
        self.project_norm = batch_norm(filters)
        self.adds = stride == 1 and inputs == filters
        self.drop_connect = DropPath(drop_connect) if self.adds and drop_connect else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        wide = self.expand_act(self.expand_norm(self.expand(x))) if self.expands else x
        wide = self.se(self.depthwise_act(self.depthwise_norm(self.depthwise(self.pad(wide)))))
        thin: Tensor = self.project_norm(self.project(wide))
        if self.adds:
            thin = self.drop_connect(thin) + x
        return thin


class EfficientNet(PaperNetwork):
    """EfficientNet ``B{size}`` of Keras: padding as TensorFlow's "same", epsilon 1e-3, momentum 0.99.

    Drop-connect grows as ``0.2 * b / sum(repeats)``, with the repeats before depth scaling, as in the authors'
    code: it exceeds 0.2 from B1 on.

    With the first three strides skipped, as for 32x32 inputs in the papers, the stem keeps its padding of (0, 1):
    the maps are 31x31, 16x16 and 8x8, as in the published computations. (The networks that the authors trained at
    that size were built without an input size, and their maps are 31, 15 and 7.)

    Args:
        size: which of B0 to B7, 0 to 7.
        num_classes: outputs of the classifier.
        in_chans: input channels.
        top_activation: activation after the top convolution. The baseline has swish; the authors' kEffNet has none
            (``"identity"``), whether or not its top convolution is replaced.
    """

    def __init__(self, size: int = 0, num_classes: int = 1000, in_chans: int = 3, top_activation: str = "silu") -> None:
        width, depth, drop_rate, input_size = _SCALES[size]
        super().__init__(num_classes, in_chans, scaled_filters(1280, width), input_size)
        stem = scaled_filters(32, width)
        self.stem_pad = StridePad(3)
        self.stem_conv = nn.Conv2d(in_chans, stem, 3, stride=2, bias=False)
        self.stem_norm = batch_norm(stem)
        self.stem_act = nn.SiLU()
        total = sum(repeats for _, repeats, *_ in _STAGES)
        blocks: OrderedDict[str, nn.Module] = OrderedDict()
        inputs = stem
        for number, (kernel, repeats, filters, expansion, stride) in enumerate(_STAGES, start=1):
            for repeat in range(math.ceil(repeats * depth)):
                outputs = scaled_filters(filters, width)
                rate = _DROP_CONNECT * len(blocks) / total
                blocks[f"{number}{chr(ord('a') + repeat)}"] = InvertedResidual(
                    inputs, outputs, kernel, stride if repeat == 0 else 1, expansion, rate
                )
                inputs = outputs
        self.blocks = nn.Sequential(blocks)
        self.head_conv = nn.Conv2d(inputs, self.num_features, 1, bias=False)
        self.head_norm = batch_norm(self.num_features)
        self.head_act = activation_named(top_activation)()
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.head_drop = nn.Dropout(drop_rate)
        self.classifier = nn.Linear(self.num_features, num_classes)
        fan_out_normal_(self)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem_act(self.stem_norm(self.stem_conv(self.stem_pad(x)))))
        features: Tensor = self.head_act(self.head_norm(self.head_conv(x)))
        return features

    def authors_names(self, converted: bool) -> AuthorsNames:
        k, path = ("k_", "__0") if converted else ("", "_")
        layers = {"stem_conv": f"{k}stem_conv", "stem_norm": f"{k}stem_bn", "classifier": f"{k}probs"}
        blocks: dict[str, tuple[str, str | None]] = {}
        for name, block in self.blocks.named_children():
            assert isinstance(block, InvertedResidual)
            ours, theirs = f"blocks.{name}", f"{k}block{name}{path}"
            layers |= {f"{ours}.depthwise": f"{theirs}dwconv", f"{ours}.depthwise_norm": f"{theirs}bn"}
            blocks |= {f"{ours}.se.{part}": (f"{theirs}se_{part}", None) for part in ("reduce", "expand")}
            if block.expands:
                blocks[f"{ours}.expand"] = (f"{theirs}expand", f"{ours}.expand_norm")
            project = f"{theirs}project_conv" if converted else f"{theirs}project"
            blocks[f"{ours}.project"] = (project, f"{ours}.project_norm")
        blocks["head_conv"] = (f"{k}top_conv" if converted else "top", "head_norm")
        if converted:
            return AuthorsNames(layers, blocks)
        # In the baseline the gates have no suffix; the rest has the names of what scheme v1 keeps.
        layers |= {ours: base for ours, (base, norm) in blocks.items() if norm is None}
        return AuthorsNames(layers, {ours: pair for ours, pair in blocks.items() if pair[1] is not None})
