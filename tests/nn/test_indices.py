"""Indices of channels are never garbage, wherever a layer goes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import kswap
from kswap.nn import Interleave
from kswap.planner import interleave_order
from kswap.training.optimize import optimize_for_training


def test_an_interleave_survives_the_meta_device() -> None:
    layer = Interleave(97, 6).to("meta").to_empty(device="cpu")
    assert layer.order.tolist() == interleave_order(97, 6)
    assert list(layer.state_dict()) == []


def test_an_interleave_follows_what_is_assigned_to_its_model() -> None:
    real = nn.Sequential(Interleave(8, 2), nn.Linear(8, 8))
    empty = copy.deepcopy(real).to("meta")
    empty.load_state_dict(real.state_dict(), assign=True)
    assert empty[0].order.tolist() == interleave_order(8, 2)
    assert empty[0].order.device.type == "cpu"


def test_a_buffer_that_stays_where_it_is_stays_the_same_tensor() -> None:
    layer = Interleave(8, 2)
    before = layer.order
    assert layer.to("cpu").double().order is before


@pytest.mark.parametrize("quick", [False, True], ids=["as converted", "optimised for training"])
@pytest.mark.parametrize("assign", [False, True], ids=["to_empty", "assign"])
def test_a_whole_model_survives_the_meta_device(quick: bool, assign: bool) -> None:
    model = kswap.convert("test_efficientnet", ch=8, device="cpu", seed=0).model.eval()
    model = optimize_for_training(model) if quick else model
    x = torch.randn(1, 3, 64, 64)
    wanted = model(x)
    empty = copy.deepcopy(model).to("meta")
    if not assign:
        empty.to_empty(device="cpu")
    empty.load_state_dict(model.state_dict(), assign=assign)
    assert torch.equal(empty(x), wanted)
