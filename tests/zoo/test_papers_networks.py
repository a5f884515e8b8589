"""The networks of the papers as models of kswap: names, methods, tracing, saving."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import kswap
from kswap.errors import ModelError
from kswap.graph.call import Call
from kswap.graph.tracer import trace
from kswap.papers.recipes import RECIPES, Variant, recipe
from kswap.sources.builders import build
from kswap.sources.source import parse_source
from kswap.zoo import NAMES
from kswap.zoo.init import fan_out_normal_, fans, glorot_uniform_
from kswap.zoo.network import CenteredBatchNorm2d, PaperNetwork, StridePad
from kswap.zoo.paper_variants import PAPER_VARIANTS, paper_variant_notes

SMALL = ("efficientnet_b0", "mobilenet", "mobilenet_v3_large", "densenet_bc_l100", "inception_v3")


@pytest.mark.parametrize("name", NAMES)
def test_every_network_traces_and_has_timms_methods(name: str) -> None:
    model = build(parse_source(f"papers/{name}", {"num_classes": 7}), meta=True)
    assert isinstance(model, PaperNetwork)
    traced = trace(model, Call((torch.zeros(1, 3, 32, 32),)))
    assert traced.error is None
    assert not traced.specialised
    side = model.pretrained_cfg["input_size"][1]
    x = torch.zeros(2, 3, side, side, device="meta")
    features = model.forward_features(x)
    assert features.shape[:2] == (2, model.num_features)
    assert model.forward_head(features).shape == model(x).shape == (2, 7)
    assert model.forward_head(features, pre_logits=True).shape[0] == 2
    assert model.get_classifier() is model.classifier
    model.reset_classifier(3)
    assert model(x).shape == (2, 3)
    assert model.num_classes == 3


@pytest.mark.parametrize("name", SMALL)
def test_the_graph_module_computes_the_same_and_the_input_may_have_any_size(name: str) -> None:
    variant = next(r for r in RECIPES.values() if r.source == f"papers/{name}")
    side = 24 if name == "densenet_bc_l100" else 80
    conversion = Variant(variant, num_classes=5, input_size=(side, side)).convert(seed=1)
    assert conversion.report.drop_in
    model = conversion.model.eval()
    graph = conversion.graph_module.eval()
    for size in ((side, side), (side + 3, side + 6)):
        x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            assert torch.allclose(model(x), graph(x), atol=1e-5)
    model.train()
    model(torch.rand(2, 3, side, side)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_saved_and_loaded_by_name(tmp_path: Path) -> None:
    conversion = Variant(recipe("kmobilenet"), ch=32, num_classes=4, input_size=(64, 64)).convert(seed=3)
    conversion.save(tmp_path / "saved")
    loaded = kswap.load(tmp_path / "saved")
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(loaded.model(x), conversion.model.eval()(x))
    assert loaded.source.title == "papers/mobilenet"
    assert loaded.source.kwargs["pointwise_activation"] == "silu"
    assert any("before is the authors' kmobilenet" in note for note in loaded.report.notes)


def test_unknown_names_and_arguments_are_one_sentence() -> None:
    with pytest.raises(ModelError, match=r"unknown model 'papers/mobilnet'.*did you mean mobilenet"):
        kswap.plan("papers/mobilnet")
    with pytest.raises(ModelError, match="papers/mobilenet does not take width"):
        kswap.plan("papers/mobilenet", width=2)
    with pytest.raises(ModelError, match="does not take pretrained"):
        kswap.convert("papers/mobilenet", pretrained=True)
    with pytest.raises(ModelError, match="unknown activation 'swosh'"):
        kswap.plan("papers/mobilenet", pointwise_activation="swosh")
    with pytest.raises(ModelError, match="at least one class"):
        kswap.plan("papers/mobilenet", num_classes=0)


@pytest.mark.parametrize("side", range(5, 13))
@pytest.mark.parametrize("kernel", [3, 5])
def test_padding_is_tensorflows_same(kernel: int, side: int) -> None:
    """For stride 2: as many outputs as half the side, rounded up, and the larger half of the zeros at the end."""
    padded = StridePad(kernel)(torch.ones(1, 1, side, side))
    total = max((-(-side // 2) - 1) * 2 + kernel - side, 0)
    rows = padded[0, 0, :, side // 2 + kernel // 2].tolist()
    assert len(rows) == side + total
    assert rows.index(1.0) == total // 2


def test_padding_without_a_known_size_takes_every_side_to_be_even() -> None:
    assert StridePad(3, size_known=False)(torch.zeros(1, 1, 7, 7)).shape[2:] == (8, 8)
    assert StridePad(5, size_known=False)(torch.zeros(1, 1, 7, 7)).shape[2:] == (10, 10)


def test_a_norm_without_a_scale_is_a_norm_with_ones() -> None:
    centered, full = CenteredBatchNorm2d(6), nn.BatchNorm2d(6, eps=1e-3, momentum=0.01)
    x = torch.randn(4, 6, 5, 5, generator=torch.Generator().manual_seed(0))
    for norm in (centered, full):
        nn.init.constant_(norm.bias, 0.5)
    assert torch.allclose(centered(x), full(x), atol=1e-6)
    assert torch.allclose(centered.eval()(x), full.eval()(x), atol=1e-6)
    centered.reset_parameters()
    assert not centered.bias.any()
    assert not centered.running_mean.any()


def test_initial_weights_have_keras_scale() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(64, 128, 3), nn.Conv2d(256, 256, 3, groups=256), nn.Linear(400, 300))
    glorot_uniform_(model)
    for layer in model[:2]:
        assert isinstance(layer, nn.Conv2d)
        assert float(layer.weight.detach().std()) == pytest.approx((2 / sum(fans(layer))) ** 0.5, rel=0.05)
        assert layer.bias is not None
        assert not layer.bias.any()
    assert float(model[2].weight.detach().std()) == pytest.approx((2 / 700) ** 0.5, rel=0.05)
    fan_out_normal_(model)
    for layer in model[:2]:
        assert isinstance(layer, nn.Conv2d)
        assert float(layer.weight.detach().std()) == pytest.approx((2 / fans(layer)[1]) ** 0.5, rel=0.05)
    assert float(model[2].weight.detach().std()) == pytest.approx((1 / 900) ** 0.5, rel=0.05)


def test_timms_models_that_the_papers_have_exist_and_are_named() -> None:
    import timm

    for name, variant in PAPER_VARIANTS.items():
        assert timm.is_model(name)
        assert variant.network in NAMES
        assert RECIPES[variant.recipe].source == f"papers/{variant.network}"
    assert paper_variant_notes("efficientnet_b0.ra_in1k")
    assert not paper_variant_notes("papers/efficientnet_b0")


def test_inception_differs_from_timms_by_the_scales() -> None:
    """What the note on timm's inception_v3 says: it has a scale for every channel of its norms."""
    ours = build(parse_source("papers/inception_v3", {"num_classes": 10}), meta=True)
    timms = build(parse_source("inception_v3", {"num_classes": 10}), meta=True)
    channels = sum(m.num_features for m in ours.modules() if isinstance(m, nn.BatchNorm2d))
    count = [sum(p.numel() for p in model.parameters()) for model in (ours, timms)]
    assert count[1] - count[0] == channels
