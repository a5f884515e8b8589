"""Names of kInception's layers in both schemes: only what the authors convert has a name that depends on it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from keras_graph import GRAPHS
from torch import Tensor, nn

from kswap.keras.networks import load_network_
from kswap.nn import GroupedBlock
from kswap.papers.recipes import RECIPES, Variant
from kswap.planner.layout import GroupedLayout
from kswap.rules import load_rules
from kswap.zoo.inception_v3 import NEVER_REPLACED, InceptionV3

Layers = dict[str, dict[str, np.ndarray]]
V1 = GRAPHS["InceptionV3|V1-32ch|c10|224|skip-1"]["layers"]
NAMES_IN_V1 = {layer["name"] for layer in V1}


def conv_arrays(weight: Tensor) -> dict[str, np.ndarray]:
    return {"kernel": weight.detach().permute(2, 3, 1, 0).numpy()}


def norm_arrays(norm: nn.BatchNorm2d, part: slice = slice(None)) -> dict[str, np.ndarray]:
    tensors = {"beta": norm.bias, "moving_mean": norm.running_mean, "moving_variance": norm.running_var}
    return {name: tensor.detach()[part].numpy() for name, tensor in tensors.items() if tensor is not None}


def v2_names(place: str, layout: GroupedLayout) -> list[str]:
    """The authors' names for the paths of K (place 1) or L (place 2) in scheme v2."""
    if layout.extra_groups:
        return [f"c{place}_p1_{layout.groups}", f"c{place}_p2"]
    return [f"c{place}_dum" if layout.groups == 1 else f"c{place}_m{layout.groups}"]


def as_keras(model: InceptionV3) -> Layers:
    """The weights of a converted kInception of scheme v2, under the authors' names."""
    names = model.authors_names(converted=True)
    classifier = model.classifier
    assert isinstance(classifier, nn.Linear)
    layers: Layers = {
        "predictions": {"kernel": classifier.weight.detach().T.numpy(), "bias": classifier.bias.detach().numpy()}
    }
    for ours, theirs in names.layers.items():
        module = model.get_submodule(ours)
        if isinstance(module, nn.Conv2d):
            layers[theirs] = conv_arrays(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            layers[theirs] = norm_arrays(module)
    for ours, (base, norm) in names.blocks.items():
        block = model.get_submodule(ours)
        if not isinstance(block, GroupedBlock):
            layers[f"{base}_um_conv"] = conv_arrays(block.weight)  # type: ignore[arg-type]
            layers[f"{base}_um_bn"] = norm_arrays(model.get_submodule(str(norm)))  # type: ignore[arg-type]
            continue
        for number, place in (("1", "k"), ("2", "l")):
            grouped = getattr(block, place)
            if grouped is None:
                continue
            whole, start = getattr(block, f"{place}_norm"), 0
            paths = [path for path in (grouped.first, grouped.second) if path is not None]
            for name, path in zip(v2_names(number, getattr(block.plan, place)), paths, strict=True):
                layers[f"{base}_{name}_conv"] = conv_arrays(path.weight)
                layers[f"{base}_{name}_bn"] = norm_arrays(whole, slice(start, start + path.weight.shape[0]))
                start += path.weight.shape[0]
    return layers


@pytest.fixture(scope="module")
def networks() -> tuple[nn.Module, nn.Module]:
    variant = Variant(RECIPES["kinception-v3"], "v2", 32, num_classes=10, input_size=(80, 80))
    return variant.convert(seed=1).model, variant.convert(seed=2).model


def test_a_checkpoint_of_scheme_v2_loads(networks: tuple[nn.Module, nn.Module]) -> None:
    trained, fresh = networks
    assert isinstance(trained, InceptionV3)
    layers = as_keras(trained)
    assert "mixed0_55b_conv" in layers
    load_network_(fresh, layers, "v2")
    wanted = trained.state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in fresh.state_dict().items())


def test_names_that_no_scheme_changes_are_those_of_the_authors_graph(networks: tuple[nn.Module, nn.Module]) -> None:
    """Every layer of the authors' v1 graph that is not made by the replacement is under its name in both schemes."""
    model = networks[0]
    assert isinstance(model, InceptionV3)
    names = model.authors_names(converted=True)
    assert set(names.layers.values()) <= NAMES_IN_V1
    wide = {layer["name"] for layer in V1 if layer["cls"] == "Conv2D" and layer["kernel"] != [1, 1]}
    assert wide <= set(names.layers.values())
    assert {f"{base}_conv" for base, _ in names.blocks.values()} <= NAMES_IN_V1


def test_the_preset_keeps_what_the_network_says_is_never_replaced() -> None:
    rules = load_rules("kinception-v3").rules
    assert [rule.match.name for rule in rules] == [tuple(f"{name}.conv" for name in NEVER_REPLACED)]
