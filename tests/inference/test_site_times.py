"""Times of what a budget may choose, measured in a target."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import nn

import kswap
from kswap.errors import DeployError
from kswap.inference import site_times
from kswap.inference.site_times import choice_seconds
from kswap.planner.block_plan import BlockPlan


def model() -> nn.Sequential:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 64, 3), nn.Conv2d(64, 64, 1), nn.GroupNorm(4, 64), nn.Conv2d(64, 64, 1), nn.ReLU())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 4)).eval()


def test_alike_layers_are_measured_once_and_no_block_is_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    library = kswap.block_library(model(), torch.randn(16, 3, 8, 8), scoring="error", progress=False)
    monkeypatch.setattr(site_times, "_SECONDS", 0.01)
    rounds: list[int] = []
    timed = site_times._in_turns

    def counted(runs: Mapping[str, object], *arguments: object) -> dict[str, float]:
        rounds.append(len(runs))
        return timed(runs, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(site_times, "_in_turns", counted)
    found = choice_seconds(library, model(), "eager", threads=1, progress=False)
    assert len(rounds) == 2  # the two layers together, and the whole model
    assert found.whole > 0
    first, second = (found.choices[unit.name] for unit in library.units)
    for unit in library.units:
        own = found.choices[unit.name]
        assert set(own) == {choice.label for choice in unit.choices}
        assert all(0 < seconds <= own["kept"] for seconds in own.values())
    shared = first.keys() & second.keys()
    assert {label: first[label] for label in shared} == {label: second[label] for label in shared}
    timed_library = library.with_seconds(found.choices, found.whole)
    assert timed_library.solve("latency=1").score == 0


def test_narrower_depthwise_convolutions_count(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    between = (nn.BatchNorm2d(128), nn.ReLU(), nn.Conv2d(128, 128, 5, padding=2, groups=128), nn.ReLU())
    expanded = (nn.Conv2d(8, 128, 1), *between, nn.Conv2d(128, 8, 1))
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), *expanded, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    ).eval()
    x = torch.randn(16, 3, 32, 32)
    library = kswap.block_library(network, x, scoring="error", progress=False, input_size=(32, 32))
    (unit,) = library.units

    def weights(layer: nn.Conv2d, layouts: Mapping[str, BlockPlan], *_: object) -> dict[str, float]:
        """In the place of seconds, so that the test does not depend on the load of the machine."""
        return {"": layer.weight.numel()} | {text: layout.weights for text, layout in layouts.items()}

    monkeypatch.setattr(site_times, "_timed", weights)
    found = choice_seconds(library, network, "eager", threads=1, progress=False)
    own = found.choices[unit.name]
    dense = {choice.label: choice for choice in unit.choices if not any(s.replaced for s in choice.sites.values())}
    (kept,) = (own[label] for label, choice in dense.items() if not choice.narrowings)
    assert kept == 8 * 128 + 25 * 128 + 128 * 8
    narrower = {choice.narrowings[0].channels: own[label] for label, choice in dense.items() if choice.narrowings}
    assert narrower[32] == kept / 4
    plan = library.with_seconds(found.choices, 2 * kept).plan_for("latency=0.7")
    assert plan.narrowings


def test_a_target_that_is_unknown_is_refused() -> None:
    library = kswap.block_library(model(), torch.randn(4, 3, 8, 8), scoring="error", progress=False)
    with pytest.raises(DeployError, match="unknown target"):
        choice_seconds(library, model(), "tpu")
