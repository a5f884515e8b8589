"""MobileNet V3 Large, as the authors' kMobileNetV3 has it."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from kswap.zoo.efficientnet import SqueezeExcite, scaled_filters
from kswap.zoo.init import glorot_uniform_
from kswap.zoo.network import AuthorsNames, PaperNetwork, StridePad, activation_named, batch_norm

# Expansion, filters, kernel, stride, squeeze-and-excite, activation.
_BLOCKS = (
    (1, 16, 3, 1, False, "relu"),
    (4, 24, 3, 2, False, "relu"),
    (3, 24, 3, 1, False, "relu"),
    (3, 40, 5, 2, True, "relu"),
    (3, 40, 5, 1, True, "relu"),
    (3, 40, 5, 1, True, "relu"),
    (6, 80, 3, 2, False, "hard_swish"),
    (2.5, 80, 3, 1, False, "hard_swish"),
    (2.3, 80, 3, 1, False, "hard_swish"),
    (2.3, 80, 3, 1, False, "hard_swish"),
    (6, 112, 3, 1, True, "hard_swish"),
    (6, 112, 3, 1, True, "hard_swish"),
    (6, 160, 5, 2, True, "hard_swish"),
    (6, 160, 5, 1, True, "hard_swish"),
    (6, 160, 5, 1, True, "hard_swish"),
)
_MOMENTUM = 0.999


def _gate(channels: int) -> SqueezeExcite:
    """A gate that reduces to a quarter, with ReLU and a hard sigmoid."""
    return SqueezeExcite(channels, scaled_filters(channels, 0.25), nn.ReLU, nn.Hardsigmoid)


class ExpandedConv(nn.Module):
    """Expand, depthwise, squeeze-and-excite, project, and the sum with the input where the shapes allow."""

    def __init__(
        self,
        inputs: int,
        expansion: float,
        filters: int,
        kernel: int,
        stride: int,
        gated: bool,
        activation: str,
        momentum: float,
    ) -> None:
        super().__init__()
        wide = scaled_filters(inputs, expansion)
        self.expands = expansion != 1
        if self.expands:
            self.expand = nn.Conv2d(inputs, wide, 1, bias=False)
            self.expand_norm = batch_norm(wide, momentum)
            self.expand_act = activation_named(activation)()
        self.pad = StridePad(kernel) if stride > 1 else nn.Identity()
        padding = 0 if stride > 1 else kernel // 2
        self.depthwise = nn.Conv2d(wide, wide, kernel, stride, padding, groups=wide, bias=False)
        self.depthwise_norm = batch_norm(wide, _MOMENTUM)
        self.depthwise_act = activation_named(activation)()
        self.se = _gate(wide) if gated else nn.Identity()
        self.project = nn.Conv2d(wide, filters, 1, bias=False)
        self.project_norm = batch_norm(filters, momentum)
        self.adds = stride == 1 and inputs == filters

    def forward(self, x: Tensor) -> Tensor:
        wide = self.expand_act(self.expand_norm(self.expand(x))) if self.expands else x
        wide = self.se(self.depthwise_act(self.depthwise_norm(self.depthwise(self.pad(wide)))))
        thin: Tensor = self.project_norm(self.project(wide))
        return x + thin if self.adds else thin


class MobileNetV3Large(PaperNetwork):
    """MobileNet V3 Large of Keras: padding as TensorFlow's "same", epsilon 1e-3, 1280 features before the classifier.

    Args:
        num_classes: outputs of the classifier.
        in_chans: input channels.
        pointwise_momentum: Keras' momentum of the norms after pointwise convolutions: 0.999 in the baseline, like
            that of all its norms, and 0.99 in the authors' converted network, also where a convolution is too
            narrow to be replaced, so no rule can say it.
        drop_rate: dropout before the classifier.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        pointwise_momentum: float = _MOMENTUM,
        drop_rate: float = 0.2,
    ) -> None:
        super().__init__(num_classes, in_chans, 960, 224)
        self.stem_pad = StridePad(3)
        self.stem_conv = nn.Conv2d(in_chans, 16, 3, stride=2, bias=False)
        self.stem_norm = batch_norm(16, _MOMENTUM)
        self.stem_act = nn.Hardswish()
        blocks: OrderedDict[str, nn.Module] = OrderedDict()
        inputs = 16
        for number, (expansion, filters, kernel, stride, gated, activation) in enumerate(_BLOCKS):
            blocks[str(number)] = ExpandedConv(
                inputs, expansion, filters, kernel, stride, gated, activation, pointwise_momentum
            )
            inputs = filters
        self.blocks = nn.Sequential(blocks)
        self.last_conv = nn.Conv2d(inputs, 960, 1, bias=False)
        self.last_norm = batch_norm(960, pointwise_momentum)
        self.last_act = nn.Hardswish()
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.head_conv = nn.Conv2d(960, 1280, 1)
        self.head_act = nn.Hardswish()
        self.head_drop = nn.Dropout(drop_rate)
        self.classifier = nn.Conv2d(1280, num_classes, 1)
        glorot_uniform_(self)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.blocks(self.stem_act(self.stem_norm(self.stem_conv(self.stem_pad(x)))))
        features: Tensor = self.last_act(self.last_norm(self.last_conv(x)))
        return features

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.head_drop(self.head_act(self.head_conv(self.global_pool(x))))
        return x.flatten(1) if pre_logits else self.classifier(x).flatten(1)

    def authors_names(self, converted: bool) -> AuthorsNames:
        layers = {"stem_conv": "Conv", "stem_norm": "Conv/BatchNorm", "classifier": "Logits"}
        pointwise: dict[str, tuple[str, str | None]] = {}
        for name, block in self.blocks.named_children():
            assert isinstance(block, ExpandedConv)
            ours, theirs = f"blocks.{name}", "expanded_conv" if name == "0" else f"expanded_conv_{name}"
            layers |= {
                f"{ours}.depthwise": f"{theirs}/depthwise",
                f"{ours}.depthwise_norm": f"{theirs}/depthwise/BatchNorm",
            }
            if block.expands:
                pointwise[f"{ours}.expand"] = (f"{theirs}/expand", f"{ours}.expand_norm")
            if isinstance(block.se, SqueezeExcite):
                pointwise[f"{ours}.se.reduce"] = (f"{theirs}/squeeze_excite/Conv", None)
                pointwise[f"{ours}.se.expand"] = (f"{theirs}/squeeze_excite/Conv_1", None)
            pointwise[f"{ours}.project"] = (f"{theirs}/project", f"{ours}.project_norm")
        pointwise |= {"last_conv": ("Conv_1", "last_norm"), "head_conv": ("Conv_2", None)}
        if converted:
            return AuthorsNames(layers, pointwise)
        layers |= {ours: base for ours, (base, _) in pointwise.items()}
        layers |= {norm: f"{base}/BatchNorm" for base, norm in pointwise.values() if norm}
        return AuthorsNames(layers)
