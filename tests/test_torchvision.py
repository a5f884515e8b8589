"""torchvision's models: classification, segmentation, detection."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from bypass import bypass_, equal, scatter_
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten
from torchvision import models

import kswap
from kswap.coverage.compare import structure
from kswap.graph.clone import meta_clone
from kswap.graph.splice import splice_
from kswap.nn import PointwiseBlock
from kswap.sources.builders import build
from kswap.sources.source import parse_source

CLASSIFIERS = models.list_models(module=models)
QUICK = (
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "resnet50",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
)
LARGEST = "regnet_y_128gf"
WITHOUT = ("alexnet", "convnext", "swin", "vgg", "vit_")
# Fixed to the size of its relative positions, and with an auxiliary head that needs the whole size.
SIZES = {"maxvit_t": 224, "inception_v3": 299}

SEGMENTATION = tuple(models.list_models(module=models.segmentation))
# Layers of detectors that make scores, boxes and masks.
PREDICTS = re.compile(r"(cls_logits|bbox_pred|bbox_reg|mask_fcn_logits|module_list\.\d+\.1)$")
DETECTORS = tuple(models.list_models(module=models.detection))


def sum_of(output: Any) -> Tensor:
    total = sum(leaf.sum() for leaf in tree_flatten(output)[0] if isinstance(leaf, Tensor) and leaf.requires_grad)
    assert isinstance(total, Tensor)
    return total


def check_classifier(name: str) -> None:
    """Structure and shapes in both modes, a gradient for every block; and nothing else has changed."""
    torch.manual_seed(0)
    side = SIZES.get(name, 64)
    model = build(parse_source(f"torchvision/{name}"))
    conversion = kswap.convert(f"torchvision/{name}", device="cpu", seed=0, input_size=(side, side))
    x = torch.randn(2, 3, side, side)
    for training in (True, False):
        found = conversion.model.train(training)(x)
        assert structure(found) == structure(model.train(training)(x))
        if training:
            sum_of(found).backward()
    blocks = [module for module in conversion.model.modules() if isinstance(module, PointwiseBlock)]
    assert len(blocks) == len(conversion.plan.replaced)
    assert all(p.grad is not None for block in blocks for p in block.parameters())
    assert all(site.reason for site in conversion.plan.kept)


@pytest.mark.parametrize("name", QUICK)
def test_classification(name: str) -> None:
    check_classifier(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in CLASSIFIERS if n not in (*QUICK, LARGEST) and not n.startswith(WITHOUT)])
def test_classification_slow(name: str) -> None:
    check_classifier(name)


def test_a_builder_that_computes_with_tensors_is_planned_too() -> None:
    assert kswap.plan("torchvision/regnet_x_400mf", input_size=(64, 64)).before.params == 5_495_976


@pytest.mark.slow
def test_the_largest_classifier_without_weights() -> None:
    """645 million parameters before."""
    model = build(parse_source(f"torchvision/{LARGEST}"), meta=True).eval()
    plan = kswap.plan(f"torchvision/{LARGEST}", input_size=(64, 64))
    converted = meta_clone(model)
    assert len(splice_(converted, plan)) == len(plan.replaced) > 80
    x = torch.empty(2, 3, 64, 64, device="meta")
    assert converted(x).shape == model(x).shape


@pytest.mark.parametrize("name", ["alexnet", "vgg11", "vit_b_16", "swin_t", "convnext_tiny"])
def test_models_without_pointwise_convolutions_are_refused(name: str) -> None:
    with pytest.raises(kswap.KswapError, match="has no pointwise"):
        kswap.plan(f"torchvision/{name}")


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large"])
def test_segmentation(name: str) -> None:
    check_segmentation(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SEGMENTATION)
def test_segmentation_slow(name: str) -> None:
    check_segmentation(name)


def check_segmentation(name: str) -> None:
    """The convolutions that make the maps of classes stay, the auxiliary head's too."""
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"num_classes": 5} | ({} if name.startswith("lraspp") else {"aux_loss": True})
    model = build(parse_source(f"torchvision/{name}", arguments))
    conversion = kswap.convert(f"torchvision/{name}", device="cpu", seed=0, input_size=(64, 64), **arguments)
    x = torch.randn(2, 3, 64, 64)
    found = conversion.model.train()(x)
    assert structure(found) == structure(model.train()(x))
    sum_of(found).backward()
    heads = [site for site in conversion.plan.sites if site.site.out_channels == 5]
    assert heads
    assert all("classifier" in site.reason and not site.replaced for site in heads)


def detector(name: str) -> tuple[nn.Module, list[Tensor]]:
    """A small detector with pictures of different sizes, as these models take them."""
    arguments: dict[str, Any] = {"num_classes": 5}
    if not name.startswith(("ssd300", "ssdlite320")):
        arguments |= {"min_size": 64, "max_size": 96}
    model = build(parse_source(f"torchvision/{name}", arguments))
    return model, [torch.rand(3, 64, 64), torch.rand(3, 80, 64)]


def targets_of(name: str, pictures: list[Tensor]) -> list[dict[str, Tensor]]:
    target = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 48.0]]), "labels": torch.tensor([1])}
    made = []
    for picture in pictures:
        extra = {}
        if name.startswith("maskrcnn"):
            extra["masks"] = torch.ones(1, *picture.shape[1:], dtype=torch.uint8)
        if name.startswith("keypointrcnn"):
            extra["keypoints"] = torch.full((1, 17, 3), 20.0)
        made.append({key: value.clone() for key, value in target.items()} | extra)
    return made


def check_detector(name: str) -> None:
    """Called with a list of pictures; losses in training, boxes in eval mode; the prediction layers stay."""
    torch.manual_seed(0)
    model, pictures = detector(name)
    conversion = kswap.convert(model, example_input=(pictures[:1],), seed=0)
    new = conversion.model
    assert type(new) is type(model)
    assert not [site.name for site in conversion.plan.replaced if PREDICTS.search(site.name)]
    backbone = [site for site in conversion.plan.sites if site.name.startswith("backbone.")]
    assert any(site.replaced for site in backbone)
    assert all(site.replaced or site.layer.k is None for site in backbone)
    targets = targets_of(name, pictures)
    losses = new.train()(pictures, targets)
    assert losses.keys() == model.train()(pictures, targets).keys()
    sum_of(losses).backward()
    with torch.no_grad():
        found = new.eval()(pictures)
    assert len(found) == 2
    assert {"boxes", "labels", "scores"} <= found[0].keys()


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large"])
def test_detection(name: str) -> None:
    check_detector(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_detection_slow(name: str) -> None:
    check_detector(name)


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large", "retinanet_resnet50_fpn"])
def test_nothing_outside_the_blocks_of_a_detector_changes(name: str) -> None:
    torch.manual_seed(0)
    model, pictures = detector(name)
    scatter_(model.eval())
    conversion = kswap.convert(model, example_input=(pictures[:1],), seed=0)
    assert bypass_(conversion, model) > 30
    with torch.no_grad():
        assert equal(conversion.model.eval()(pictures), model(pictures))
