"""MobileNet (v1), as the authors' kMobileNet has it."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from kswap.zoo.init import glorot_uniform_
from kswap.zoo.network import AuthorsNames, PaperNetwork, StridePad, activation_named, batch_norm

# Filters of the pointwise convolution and stride of the depthwise one, block by block.
_BLOCKS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)),
)


class SeparableBlock(nn.Module):
    """Depthwise 3x3, norm, activation, pointwise, norm, activation."""

    def __init__(
        self, inputs: int, filters: int, stride: int, depthwise_activation: str, pointwise_activation: str
    ) -> None:
        super().__init__()
        self.strided = stride > 1
        self.pad = StridePad(3, size_known=False) if self.strided else nn.Identity()
        padding = 0 if self.strided else 1
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, padding, groups=inputs, bias=False)
        self.depthwise_norm = batch_norm(inputs)
        self.depthwise_act = activation_named(depthwise_activation)()
        self.pointwise = nn.Conv2d(inputs, filters, 1, bias=False)
        self.pointwise_norm = batch_norm(filters)
        self.pointwise_act = activation_named(pointwise_activation)()

    def forward(self, x: Tensor) -> Tensor:
        if self.strided:
            # The stride is read from the layer, since an edit of the plan may have set it to 1.
            x = self.pad(x, self.depthwise.stride[0])
        x = self.depthwise_act(self.depthwise_norm(self.depthwise(x)))
        y: Tensor = self.pointwise_act(self.pointwise_norm(self.pointwise(x)))
        return y


class MobileNet(PaperNetwork):
    """MobileNet v1 of Keras: padding of (0, 1) before strides, epsilon 1e-3, a 1x1 convolution as classifier.

    With the first four strides skipped, as in the authors' networks for 32x32 inputs, the stem keeps its padding of
    (0, 1) and the skipped depthwise convolutions are padded as "same": the map stays 31x31 up to block 12.

    Args:
        num_classes: outputs of the classifier.
        in_chans: input channels.
        pointwise_activation: activation after the pointwise convolutions. The baseline has ReLU6; the authors'
            converted network has swish (``"silu"``), also where a convolution is too narrow to be replaced, so no
            rule can say it.
        drop_rate: dropout before the classifier.
        depthwise_activation: activation after the first and the depthwise convolutions. ReLU6 is what the published
            figures and weights need, for the baseline and the converted network; the authors' library has swish
            there today.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        pointwise_activation: str = "relu6",
        drop_rate: float = 0.001,
        depthwise_activation: str = "relu6",
    ) -> None:
        super().__init__(num_classes, in_chans, 1024, 224)
        self.stem_pad = StridePad(3, size_known=False)
        self.stem_conv = nn.Conv2d(in_chans, 32, 3, stride=2, bias=False)
        self.stem_norm = batch_norm(32)
        self.stem_act = activation_named(depthwise_activation)()
        blocks: OrderedDict[str, nn.Module] = OrderedDict()
        inputs = 32
        for number, (filters, stride) in enumerate(_BLOCKS, start=1):
            blocks[str(number)] = SeparableBlock(inputs, filters, stride, depthwise_activation, pointwise_activation)
            inputs = filters
        self.blocks = nn.Sequential(blocks)
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.head_drop = nn.Dropout(drop_rate)
        self.classifier = nn.Conv2d(inputs, num_classes, 1)
        glorot_uniform_(self)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem_act(self.stem_norm(self.stem_conv(self.stem_pad(x))))
        features: Tensor = self.blocks(x)
        return features

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.head_drop(self.global_pool(x))
        return x.flatten(1) if pre_logits else self.classifier(x).flatten(1)

    def authors_names(self, converted: bool) -> AuthorsNames:
        layers = {"stem_conv": "conv1", "stem_norm": "conv1_bn", "classifier": "conv_preds"}
        blocks: dict[str, tuple[str, str | None]] = {}
        for number in range(1, len(_BLOCKS) + 1):
            ours = f"blocks.{number}"
            layers |= {f"{ours}.depthwise": f"conv_dw_{number}", f"{ours}.depthwise_norm": f"conv_dw_{number}_bn"}
            if converted:
                blocks[f"{ours}.pointwise"] = (f"conv_pw_{number}_bn", f"{ours}.pointwise_norm")
            else:
                layers |= {f"{ours}.pointwise": f"conv_pw_{number}", f"{ours}.pointwise_norm": f"conv_pw_{number}_bn"}
        return AuthorsNames(layers, blocks)
