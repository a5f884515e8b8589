"""The networks of the papers against the graphs of the authors' Keras code: the same function, layer by layer."""

from __future__ import annotations

import pytest
import torch
from keras_graph import GRAPHS, random_weights, run
from torch import nn

from kswap.keras.networks import load_network_
from kswap.papers.recipes import RECIPES, Variant
from kswap.sources.builders import build
from kswap.sources.source import parse_source

FAMILIES = {
    "EfficientNet-B0": "kefficientnet-b0",
    "MobileNet": "kmobilenet",
    "MobileNetV3Large": "kmobilenet-v3-large",
    "DenseNet-BC-L100": "kdensenet-bc-l100",
    "InceptionV3": "kinception-v3",
}


def scheme_of(graph: str) -> str:
    return "v1" if "|V1" in graph else "v2"


def built(graph: str) -> nn.Module:
    """Our network for one of the authors' graphs, by its id."""
    family, variant, _, side, skip = graph.split("|")
    recipe = RECIPES[FAMILIES[family]]
    if variant == "baseline":
        return build(parse_source(recipe.source, {"num_classes": 10}))
    ch = variant.rpartition("-")[2]
    wanted = Variant(
        recipe,
        scheme_of(graph),
        int(ch.removesuffix("ch")),
        num_classes=10,
        input_size=(int(side), int(side)),
        skip_stride_cnt=int(skip.removeprefix("skip")),
        second_layer="noL" not in variant,
    )
    return wanted.convert().model


@pytest.mark.parametrize("graph", list(GRAPHS))
def test_same_function_as_the_authors_network(graph: str) -> None:
    layers = GRAPHS[graph]["layers"]
    weights = random_weights(layers)
    model = built(graph).eval()
    load_network_(model, weights, None if "baseline" in graph else scheme_of(graph))
    assert sum(p.numel() for p in model.parameters()) == GRAPHS[graph]["trainable"]
    torch.manual_seed(0)
    x = torch.rand(1, 3, *layers[0]["out_hw"])
    expected = run(layers, weights, x)
    with torch.no_grad():
        found = model(x)
    assert expected.std() > 0.01
    assert (found - expected).abs().max() <= 2e-5 * expected.abs().max()
    same_training_settings(model, graph)


def same_training_settings(model: nn.Module, graph: str) -> None:
    """What one inference does not show: momenta, epsilons, rates of dropout and drop-connect."""
    layers = GRAPHS[graph]["layers"]
    theirs = {(la["momentum"], la["epsilon"], la["scale"]) for la in layers if la["cls"] == "BatchNormalization"}
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    ours = {(round(1 - float(norm.momentum or 0), 6), norm.eps, norm.weight is not None) for norm in norms}
    assert ours == theirs
    assert sum(norm.num_features for norm in norms) * 2 == GRAPHS[graph]["non_trainable"]
    rates = [layer["rate"] for layer in layers if layer["cls"] == "Dropout"]
    drops = [float(getattr(m, "p", getattr(m, "drop_prob", 0))) for m in model.modules() if "Drop" in type(m).__name__]
    assert [rate for rate in drops if rate] == pytest.approx(rates)


def test_momenta_of_the_converted_mobilenet_v3() -> None:
    """0.99 behind pointwise convolutions, replaced or kept, and 0.999 behind all others."""
    graph = "MobileNetV3Large|V1-32ch|c10|224|skip-1"
    names = {layer["name"]: layer for layer in GRAPHS[graph]["layers"]}
    assert names["expanded_conv_5/expand_bn"]["momentum"] == 0.99
    model = built(graph)
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            others = "depthwise" in name or "stem" in name
            assert module.momentum == (0.001 if others else 0.01), name
