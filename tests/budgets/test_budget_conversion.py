"""``kswap.convert(budget=...)``, and ``ch_fraction``."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import kswap
from kswap.errors import KswapError


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 48, 3), nn.BatchNorm2d(48), nn.ReLU()),
        *(nn.Conv2d(48, 64, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.Conv2d(64, 32, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4)),
    ).eval()


SAMPLES = torch.randn(32, 3, 10, 10, generator=torch.Generator().manual_seed(0))


def test_a_conversion_keeps_its_budget_and_is_nearer_to_the_original_with_more() -> None:
    model, distances = small(), []
    params = sum(p.numel() for p in model.parameters())
    for share in (0.5, 0.9):
        made = kswap.convert(model, budget=f"params={share}", calibration=SAMPLES, seed=0, progress=False)
        assert sum(p.numel() for p in made.model.parameters()) <= share * params
        assert all(site.placement == "linear" for site in made.plan.replaced)
        assert made.report.projection is not None
        with torch.no_grad():
            distances.append(float((made.model.eval()(SAMPLES) - model(SAMPLES)).square().mean()))
    assert distances[1] < distances[0]


def test_a_budget_can_be_a_value_and_its_plan_is_replayed() -> None:
    model, budget = small(), kswap.Budget.of("params=0.6, macs=0.7")
    made = kswap.convert(model, budget=budget, calibration=SAMPLES, seed=0, progress=False)
    assert made.report.macs.ratio <= 0.7
    again = kswap.convert(model, plan=made.plan, init="project", calibration=SAMPLES, seed=0, progress=False)
    for name, tensor in made.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"ch": 8, "rank": 3}, "the budget chooses ch, rank for every site by itself"),
        ({"init": "fresh"}, "use it with the init project|fits none"),
        ({"budget": "latency=0.5"}, "times that are measured in a target"),
        ({"calibration": None}, "pass calibration="),
        ({"narrow": 0.5}, "the budget chooses narrow"),
        ({"budget": "params=0.001"}, "the smallest that can be reached is"),
    ],
)
def test_what_contradicts_a_budget_is_refused(arguments: dict[str, Any], sentence: str) -> None:
    asked = {"budget": "params=0.6", "calibration": SAMPLES, "progress": False} | arguments
    with pytest.raises(KswapError, match=sentence):
        kswap.convert(small(), **asked)


def test_a_budget_out_of_reach_is_refused_before_anything_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kswap.budgets.block_library.layer_inputs", lambda *_: pytest.fail("it ran the network"))
    with pytest.raises(KswapError, match="the smallest that can be reached is"):
        kswap.convert(small(), budget="params=0.5, macs=0.001", calibration=SAMPLES, progress=False)


def test_a_plan_and_a_budget_exclude_each_other() -> None:
    plan = kswap.plan(small(), ch=8, input_size=(10, 10))
    with pytest.raises(KswapError, match="leave out the plan or the budget"):
        kswap.convert(small(), plan=plan, budget="params=0.5", calibration=SAMPLES)


def test_ch_can_be_a_share_of_the_input_channels_unless_a_rule_sets_it() -> None:
    rules = {"rule": [{"match": {"name": "6"}, "ch": 8}]}
    plan = kswap.plan(small(), ch_fraction=0.25, rules=rules, input_size=(10, 10))
    assert [plan[name].layer.ch for name in ("3", "6")] == [12, 8]
    made = kswap.convert(small(), ch_fraction=0.25, example_input=SAMPLES[:1])
    assert made.plan["6"].layer.ch == 16
    with pytest.raises(KswapError, match="ch_fraction must be a number between 0 and 1, not 1"):
        kswap.plan(small(), ch_fraction=1)
