"""Projection of one model of each timm family that has 1x1 convolutions, and of networks of every other make."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import transformers as hf
from bypass import scatter_
from projected import check_projection
from test_families import QUICK, SLOW, SMALLER
from timm.layers import GroupNormAct, StdConv2d
from timm.models.resnetv2 import ResNetV2
from torch import Tensor, nn
from torchvision import models

import kswap
from kswap.coverage.sizes import smallest_size
from kswap.sources.builders import build
from kswap.sources.inputs import input_size_of
from kswap.sources.source import parse_source


def check_by_name(name: str, **options: Any) -> kswap.Conversion:
    """Random weights suffice: norms and biases are drawn too, so that no layer is left out."""
    torch.manual_seed(0)
    source = parse_source(name, SMALLER.get(name))
    empty = build(source, meta=True).eval()
    side = SMALLER.get(name, {}).get("img_size")
    size = (3, side, side) if side else smallest_size(empty, input_size_of(empty, source))
    model = build(source)
    scatter_(model)
    return check_projection(model, torch.randn(2, 4, *size).unbind(), **options)


@pytest.mark.parametrize("family", ["efficientnet", "resnet", "nfnet"])
def test_families(family: str) -> None:
    check_by_name(QUICK[family])


# Models that have no site at 32 channels per group, which is quicker than fewer.
NARROW = {"csatv2": 16, "edgenext_xx_small": 16}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*QUICK.values(), *SLOW.values()], ids=[*QUICK, *SLOW])
def test_families_slow(name: str) -> None:
    check_by_name(name, ch=NARROW.get(name, 32))


LINEAR = ("convnext_atto", "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224", "mixer_s32_224")


def test_linear_layers() -> None:
    check_by_name("test_vit", linear=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", LINEAR)
def test_linear_layers_slow(name: str) -> None:
    check_by_name(name, ch=32, linear=True)


def test_weights_that_are_standardised_without_a_gain() -> None:
    """A small BiT: K has filters of one size, which only L can scale."""
    torch.manual_seed(0)
    norm = partial(GroupNormAct, num_groups=8)
    model = ResNetV2((1, 1, 1, 1), num_classes=5, width_factor=0.25, conv_layer=StdConv2d, norm_layer=norm)
    scatter_(model)
    check_projection(model, pictures(4), ch=16)


@pytest.mark.slow
def test_weights_that_are_standardised_without_a_gain_slow() -> None:
    check_by_name("resnetv2_50x1_bit", ch=32)


def pictures(samples: int = 8) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(samples, 3, 32, 32), torch.randn(samples, 3, 32, 32)


class Branching(nn.Module):
    """torch.fx cannot trace it: it asks for a number."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.expand, self.norm = nn.Conv2d(3, 32, 3, 2), nn.Conv2d(32, 64, 1), nn.BatchNorm2d(64)
        self.project, self.head = nn.Conv2d(64, 32, 1), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        if float(x.detach().mean()) > -10:
            x = self.norm(self.expand(x)).relu_()
        return self.head(self.project(x).mean((2, 3)))  # type: ignore[no-any-return]


class SharedHead(nn.Module):
    """As in RetinaNet: one head for maps of two sizes, with a keyword argument that is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.down = nn.Conv2d(3, 32, 3, 2), nn.Conv2d(32, 32, 3, 2)
        self.expand, self.norm, self.project = nn.Conv2d(32, 64, 1), nn.BatchNorm2d(64), nn.Conv2d(64, 32, 1)
        self.boxes = nn.Conv2d(32, 4, 3, padding=1)

    def forward(self, image: Tensor, scale: float = 1.0) -> dict[str, list[Tensor]]:
        fine = self.stem(image).relu()
        levels = (fine, self.down(fine).relu())
        return {"boxes": [scale * self.boxes(self.project(self.norm(self.expand(x)).relu())) for x in levels]}


def convolutions(dims: int) -> nn.Module:
    conv = {1: nn.Conv1d, 3: nn.Conv3d}[dims]
    norm = {1: nn.BatchNorm1d, 3: nn.BatchNorm3d}[dims]
    stride = (1, 2, 1)[:dims] if dims == 3 else 2
    return nn.Sequential(
        *(conv(4, 32, 3), conv(32, 64, 1, bias=False), norm(64), nn.ReLU(inplace=True)),
        *(conv(64, 32, 1, stride=stride), nn.ReLU(), nn.Flatten(2), nn.AdaptiveAvgPool1d(1), nn.Flatten()),
        nn.Linear(32, 5),
    )


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "1-D": lambda: (convolutions(1), torch.randn(2, 8, 4, 50).unbind()),
    "3-D": lambda: (convolutions(3), torch.randn(2, 4, 4, 8, 8, 8).unbind()),
    "not traceable": lambda: (Branching(), pictures()),
    "shared head": lambda: (SharedHead(), pictures(4)),
    "keyword arguments": lambda: (SharedHead(), [{"image": batch} for batch in pictures(4)]),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str) -> None:
    torch.manual_seed(0)
    model, batches = NETWORKS[name]()
    scatter_(model)
    conversion = check_projection(model, batches, ch=8)
    assert len(conversion.plan.replaced) == 2


def tokens(vocabulary: int = 97) -> list[dict[str, Tensor]]:
    """Two batches as a tokenizer returns them, padded on the right."""
    torch.manual_seed(0)
    mask = torch.ones(4, 24, dtype=torch.long)
    mask[0, 20:] = 0
    return [{"input_ids": torch.randint(1, vocabulary, (4, 24)), "attention_mask": mask} for _ in range(2)]


def test_a_language_model() -> None:
    """All sites are Linear layers; most run once for each token."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "max_position_embeddings": 32}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "bos_token_id": 1, "eos_token_id": 2}
    model = hf.LlamaForCausalLM(hf.LlamaConfig(vocab_size=97, **sizes, **heads))
    conversion = check_projection(model, tokens(), ch=8, linear=True)
    assert {site.name.rpartition(".")[2] for site in conversion.plan.replaced} == {"gate_proj", "up_proj", "down_proj"}


def test_torchvision() -> None:
    torch.manual_seed(0)
    model = models.shufflenet_v2_x0_5()
    scatter_(model)
    check_projection(model, pictures(4), ch=32)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v2", "squeezenet1_1", "googlenet", "densenet121", "regnet_y_400mf"]
)
def test_torchvision_slow(name: str) -> None:
    torch.manual_seed(0)
    model = models.get_model(name, weights=None)
    scatter_(model)
    check_projection(model, torch.randn(2, 2, 3, 96, 96).unbind(), ch=32)


@pytest.mark.slow
def test_a_detector_slow() -> None:
    """Its head runs on six levels. Boxes are chosen by their scores, so that their number may change."""
    torch.manual_seed(0)
    detector = models.detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=5)
    check_projection(detector, torch.rand(1, 2, 3, 320, 320).unbind(), same_shapes=False, ch=32)
