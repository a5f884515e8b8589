"""Blocks against outputs of the authors' Keras implementation, and the map of layer names behind that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from kswap.errors import SavedError
from kswap.keras.names import BlockPart, block_part
from kswap.keras.weights import (
    block_assignment,
    depthwise_tensor,
    kernel_tensor,
    layer_assignment,
    load_,
    parts_of,
)
from kswap.nn import GroupedBlock
from kswap.planner import plan_layer

ARRAYS = np.load(Path(__file__).parent.parent / "data" / "authors_blocks.npz", allow_pickle=False)
CASES: list[dict[str, Any]] = json.loads(str(ARRAYS["cases"]))
ACTIVATIONS = {"swish": nn.SiLU, "relu": nn.ReLU, "sigmoid": nn.Sigmoid, None: nn.Identity}
KEPT = [
    case["id"] for case in CASES if plan_layer(case["Ic"], case["F"], case["Ch"], case["version"].lower()).k is None
]


def layers_of(case: dict[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    return {
        layer: {name: ARRAYS[f"{case['id']}/{layer}/{name}"] for name in names}
        for layer, names in case["layers"].items()
    }


def loaded(case: dict[str, Any]) -> nn.Module:
    """The block of the plan, or the chain of layers that is kept, with the authors' weights."""
    layers = layers_of(case)
    plan = plan_layer(case["Ic"], case["F"], case["Ch"], case["version"].lower())
    conv = nn.Conv2d(case["Ic"], case["F"], 1, bias=case["use_bias"])
    norm = nn.BatchNorm2d(case["F"], eps=1e-3) if case["has_batch_norm"] else None
    act = ACTIVATIONS[case["activation"]]()
    parts = parts_of(layers)
    model: nn.Module
    if plan.k is None:
        model = nn.Sequential(conv, norm or nn.Identity(), act)
        assignment = layer_assignment(
            conv, "0", parts[BlockPart(case["version"].lower(), "blk", "k", "first", "conv")], layers
        )
        if norm is not None:
            assignment |= layer_assignment(
                norm, "1", parts[BlockPart(case["version"].lower(), "blk", "k", "first", "norm")], layers
            )
    else:
        model = GroupedBlock(plan, norm, act, replaces=conv)
        assignment = block_assignment(model, "", "blk", parts, layers)
    assert assignment.used == set(layers)
    load_(model, assignment)
    return model.eval()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_output_is_that_of_the_authors(case: dict[str, Any]) -> None:
    model = loaded(case)
    inputs = torch.from_numpy(ARRAYS[f"x_{case['Ic']}"]).permute(0, 3, 1, 2)
    with torch.no_grad():
        found = model(inputs).permute(0, 2, 3, 1).numpy()
    expected = ARRAYS[f"{case['id']}/output"]
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert sum(p.numel() for p in model.parameters()) == case["trainable_params"]


def test_the_cases_cover_every_kind_of_shape() -> None:
    plans = [plan_layer(c["Ic"], c["F"], c["Ch"], c["version"].lower()) for c in CASES if c["id"] not in KEPT]
    assert len(CASES) >= 80
    assert len(KEPT) >= 20
    assert {case["activation"] for case in CASES} == {"swish", "relu", "sigmoid", None}
    assert {(case["has_batch_norm"], case["use_bias"]) for case in CASES} == {
        (norm, bias) for norm in (True, False) for bias in (True, False)
    }
    assert any(plan.k.replicated for plan in plans if plan.k)
    assert any(plan.k.extra_groups for plan in plans if plan.k)
    assert any(plan.k.group_width > plan.ch for plan in plans if plan.k)
    assert any(plan.l.is_dense for plan in plans if plan.l)
    assert any(plan.l.extra_groups for plan in plans if plan.l)
    assert any(plan.l is None for plan in plans)
    assert any(plan.interleave_step is None for plan in plans if plan.l)


@pytest.mark.parametrize("case", [c for c in CASES if c["id"] not in KEPT], ids=lambda case: case["id"])
def test_names_say_what_the_plan_says(case: dict[str, Any]) -> None:
    """Every Keras layer is a part of the block, and every part of the block is a Keras layer."""
    plan = plan_layer(case["Ic"], case["F"], case["Ch"], case["version"].lower())
    wanted = {("k", "first")} | ({("l", "first")} if plan.l else set())
    wanted |= {(place, "second") for place, layer in (("k", plan.k), ("l", plan.l)) if layer and layer.extra_groups}
    found = {part for part in (block_part(name) for name in case["layers"]) if part}
    assert {part.scheme for part in found} == {case["version"].lower()}
    assert {(part.place, part.path) for part in found if part.kind == "conv"} == wanted
    assert {(part.place, part.path) for part in found if part.kind == "norm"} == (
        wanted if case["has_batch_norm"] else set()
    )


def test_kernels_are_turned_and_not_reshuffled() -> None:
    kernel = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    turned = kernel_tensor(kernel)
    assert turned.shape == (5, 4, 2, 3)
    assert turned[4, 3, 1, 2] == kernel[1, 2, 3, 4]
    depthwise = depthwise_tensor(kernel[..., :1])
    assert depthwise.shape == (4, 1, 2, 3)
    assert depthwise[3, 0, 1, 2] == kernel[1, 2, 3, 0]


def case_of(name: str) -> dict[str, Any]:
    return next(case for case in CASES if case["id"] == name)


def test_another_ch_is_refused() -> None:
    case = case_of("V2_14_10_4_swish_bn_nobias")
    layers = layers_of(case)
    block = GroupedBlock(plan_layer(14, 10, 3), nn.BatchNorm2d(10), nn.SiLU())
    with pytest.raises(SavedError, match=r"has the shape .* another network, ch"):
        load_(block, block_assignment(block, "", "blk", parts_of(layers), layers))


def test_another_scheme_is_refused() -> None:
    layers = layers_of(case_of("V2_14_10_4_swish_bn_nobias"))
    block = GroupedBlock(plan_layer(1152, 320, 16), nn.BatchNorm2d(320))
    del layers["blk_c1_p2_conv"]
    with pytest.raises(SavedError, match="no conv for the second path of K of 'blk'"):
        block_assignment(block, "", "blk", parts_of(layers), layers)


def test_a_missing_array_is_named() -> None:
    layers = layers_of(case_of("V2_14_10_4_swish_bn_nobias"))
    del layers["blk_c1_p2_bn"]["gamma"]
    block = GroupedBlock(plan_layer(14, 10, 4), nn.BatchNorm2d(10), nn.SiLU())
    with pytest.raises(SavedError, match="layer 'blk_c1_p2_bn' has beta, moving_mean, moving_variance, but needs"):
        block_assignment(block, "", "blk", parts_of(layers), layers)
