"""Inception V3, as the authors' kInceptionV3 has it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kswap.zoo.init import glorot_uniform_
from kswap.zoo.network import AuthorsNames, CenteredBatchNorm2d, PaperNetwork

Kernel = tuple[int, int]


class ConvNorm(nn.Module):
    """Convolution, norm without a scale, ReLU. Padded as "same" unless ``valid``."""

    def __init__(
        self, inputs: int, filters: int, kernel: Kernel = (1, 1), stride: int = 1, valid: bool = False
    ) -> None:
        super().__init__()
        padding = (0, 0) if valid else (kernel[0] // 2, kernel[1] // 2)
        self.conv = nn.Conv2d(inputs, filters, kernel, stride, padding, bias=False)
        self.norm = CenteredBatchNorm2d(filters)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.norm(self.conv(x)))
        return y


def _average() -> nn.AvgPool2d:
    """3x3 average pooling that leaves the border out, as TensorFlow's "same" does."""
    return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)


class MixedA(nn.Module):
    """mixed0 to mixed2: 1x1, 5x5, double 3x3 and pooling branches."""

    def __init__(self, inputs: int, pool_filters: int) -> None:
        super().__init__()
        self.branch1x1 = ConvNorm(inputs, 64)
        self.branch5x5_1 = ConvNorm(inputs, 48)
        self.branch5x5_2 = ConvNorm(48, 64, (5, 5))
        self.branch3x3dbl_1 = ConvNorm(inputs, 64)
        self.branch3x3dbl_2 = ConvNorm(64, 96, (3, 3))
        self.branch3x3dbl_3 = ConvNorm(96, 96, (3, 3))
        self.pool = _average()
        self.branch_pool = ConvNorm(inputs, pool_filters)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        branches = [self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)), double, self.branch_pool(self.pool(x))]
        return torch.cat(branches, dim=1)


class MixedB(nn.Module):
    """mixed3: halves both sides."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = ConvNorm(inputs, 384, (3, 3), stride=2, valid=True)
        self.branch3x3dbl_1 = ConvNorm(inputs, 64)
        self.branch3x3dbl_2 = ConvNorm(64, 96, (3, 3))
        self.branch3x3dbl_3 = ConvNorm(96, 96, (3, 3), stride=2, valid=True)
        self.pool = nn.MaxPool2d(3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, self.pool(x)], dim=1)


class MixedC(nn.Module):
    """mixed4 to mixed7: 1x1, 7x7, double 7x7 and pooling branches, the 7x7 in two steps each."""

    def __init__(self, inputs: int, narrow: int) -> None:
        super().__init__()
        self.branch1x1 = ConvNorm(inputs, 192)
        self.branch7x7_1 = ConvNorm(inputs, narrow)
        self.branch7x7_2 = ConvNorm(narrow, narrow, (1, 7))
        self.branch7x7_3 = ConvNorm(narrow, 192, (7, 1))
        self.branch7x7dbl_1 = ConvNorm(inputs, narrow)
        self.branch7x7dbl_2 = ConvNorm(narrow, narrow, (7, 1))
        self.branch7x7dbl_3 = ConvNorm(narrow, narrow, (1, 7))
        self.branch7x7dbl_4 = ConvNorm(narrow, narrow, (7, 1))
        self.branch7x7dbl_5 = ConvNorm(narrow, 192, (1, 7))
        self.pool = _average()
        self.branch_pool = ConvNorm(inputs, 192)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), single, double, self.branch_pool(self.pool(x))], dim=1)


class MixedD(nn.Module):
    """mixed8: halves both sides."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3_1 = ConvNorm(inputs, 192)
        self.branch3x3_2 = ConvNorm(192, 320, (3, 3), stride=2, valid=True)
        self.branch7x7x3_1 = ConvNorm(inputs, 192)
        self.branch7x7x3_2 = ConvNorm(192, 192, (1, 7))
        self.branch7x7x3_3 = ConvNorm(192, 192, (7, 1))
        self.branch7x7x3_4 = ConvNorm(192, 192, (3, 3), stride=2, valid=True)
        self.pool = nn.MaxPool2d(3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), seven, self.pool(x)], dim=1)


class MixedE(nn.Module):
    """mixed9 and mixed10: 1x1, 3x3, double 3x3 and pooling branches, the last 3x3 side by side as 1x3 and 3x1."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch1x1 = ConvNorm(inputs, 320)
        self.branch3x3_1 = ConvNorm(inputs, 384)
        self.branch3x3_2a = ConvNorm(384, 384, (1, 3))
        self.branch3x3_2b = ConvNorm(384, 384, (3, 1))
        self.branch3x3dbl_1 = ConvNorm(inputs, 448)
        self.branch3x3dbl_2 = ConvNorm(448, 384, (3, 3))
        self.branch3x3dbl_3a = ConvNorm(384, 384, (1, 3))
        self.branch3x3dbl_3b = ConvNorm(384, 384, (3, 1))
        self.pool = _average()
        self.branch_pool = ConvNorm(inputs, 192)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        single = torch.cat([self.branch3x3_2a(single), self.branch3x3_2b(single)], dim=1)
        double = torch.cat([self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)], dim=1)
        return torch.cat([self.branch1x1(x), single, double, self.branch_pool(self.pool(x))], dim=1)


# The authors' names for the convolutions of their converted network, in the order of this one. None: they gave the
# convolution no name.
_AUTHORS: dict[type[nn.Module], tuple[str | None, ...]] = {
    MixedA: ("11a", "11b", "55b", "11c", "33c", "33cc", "avg11"),
    MixedB: ("33a", "11b", "33b", None),
    MixedC: ("11a", "11b", "17b", "71b", "11c", "71c", "17c", "71cc", "17cc", "avg11"),
    MixedD: ("11a", "33a", "11b", "17b", "71b", "33b"),
    MixedE: ("11", "22", "11a", "31a", "11b", "33b", "13b", "31b", "avg11"),
}


# Pointwise convolutions that the authors' code never replaces. The preset kinception-v3 keeps the same ones.
NEVER_REPLACED = ("mixed0.branch3x3dbl_1", "mixed2.branch3x3dbl_1", "mixed2.branch_pool")


class InceptionV3(PaperNetwork):
    """Inception V3 of Keras: norms without a scale and with epsilon 1e-3, no auxiliary head, no dropout.

    The authors' converted network is this one with the preset ``kinception-v3``, which keeps three pointwise
    convolutions dense (:data:`NEVER_REPLACED`).
    """

    def __init__(self, num_classes: int = 1000, in_chans: int = 3) -> None:
        super().__init__(num_classes, in_chans, 2048, 224)
        self.stem_1 = ConvNorm(in_chans, 32, (3, 3), stride=2, valid=True)
        self.stem_2 = ConvNorm(32, 32, (3, 3), valid=True)
        self.stem_3 = ConvNorm(32, 64, (3, 3))
        self.stem_pool_1 = nn.MaxPool2d(3, stride=2)
        self.stem_4 = ConvNorm(64, 80)
        self.stem_5 = ConvNorm(80, 192, (3, 3), valid=True)
        self.stem_pool_2 = nn.MaxPool2d(3, stride=2)
        self.mixed0 = MixedA(192, 32)
        self.mixed1 = MixedA(256, 64)
        self.mixed2 = MixedA(288, 64)
        self.mixed3 = MixedB(288)
        self.mixed4 = MixedC(768, 128)
        self.mixed5 = MixedC(768, 160)
        self.mixed6 = MixedC(768, 160)
        self.mixed7 = MixedC(768, 192)
        self.mixed8 = MixedD(768)
        self.mixed9 = MixedE(1280)
        self.mixed10 = MixedE(2048)
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.head_drop = nn.Identity()
        self.classifier = nn.Linear(2048, num_classes)
        glorot_uniform_(self)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.stem_pool_1(self.stem_3(self.stem_2(self.stem_1(x))))
        x = self.stem_pool_2(self.stem_5(self.stem_4(x)))
        x = self.mixed3(self.mixed2(self.mixed1(self.mixed0(x))))
        x = self.mixed7(self.mixed6(self.mixed5(self.mixed4(x))))
        features: Tensor = self.mixed10(self.mixed9(self.mixed8(x)))
        return features

    def authors_names(self, converted: bool) -> AuthorsNames:
        """All convolutions of the baseline, and a few of the converted network, are only numbered there.

        In the converted network the names of pointwise convolutions depend on the scheme; those of the others, and
        of :data:`NEVER_REPLACED`, do not.
        """
        layers: dict[str, str] = {"classifier": "predictions"}
        blocks: dict[str, tuple[str, str | None]] = {}
        numbered = 0
        named = self._named_there() if converted else {}
        for name, module in self.named_modules():
            if not isinstance(module, ConvNorm):
                continue
            base = named.get(name)
            if base is None:
                suffix = f"_{numbered}" if numbered else ""
                layers |= {f"{name}.conv": f"conv2d{suffix}", f"{name}.norm": f"batch_normalization{suffix}"}
                numbered += 1
            elif module.conv.kernel_size == (1, 1) and name not in NEVER_REPLACED:
                blocks[f"{name}.conv"] = (base, f"{name}.norm")
            else:
                layers |= {f"{name}.conv": f"{base}_conv", f"{name}.norm": f"{base}_bn"}
        return AuthorsNames(layers, blocks)

    def _named_there(self) -> dict[str, str]:
        """The convolutions that have a name in the authors' converted network."""
        names = {"stem_4": "single_path"}
        for mixed, module in self.named_children():
            convolutions = [name for name, child in module.named_children() if isinstance(child, ConvNorm)]
            for ours, theirs in zip(convolutions, _AUTHORS.get(type(module), ()), strict=type(module) in _AUTHORS):
                if theirs is not None:
                    names[f"{mixed}.{ours}"] = f"{mixed}_{theirs}"
        names["mixed2.branch3x3dbl_3"] = "mixed2_33bb"
        return names
