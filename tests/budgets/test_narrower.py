"""Fewer hidden channels as a choice of budgets."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import kswap
from kswap.budgets.block_library import Library
from kswap.budgets.narrower import narrower_of
from kswap.errors import PlanError
from kswap.graph.call import Call
from kswap.graph.observe import observe
from kswap.planner import Plan
from kswap.planning import PlanSettings, run_of

SIZE = (16, 16)


class Block(nn.Module):
    """An inverted bottleneck with squeeze and excite."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, hidden, 1, bias=False)
        self.norm = nn.BatchNorm2d(hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 5, padding=2, groups=hidden)
        self.squeeze = nn.Conv2d(hidden, 8, 1)
        self.excite = nn.Conv2d(8, hidden, 1)
        self.project = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(torch.relu(self.norm(self.expand(x))))
        y = y * torch.sigmoid(self.excite(torch.relu(self.squeeze(y.mean((2, 3), keepdim=True)))))
        return x + self.project(y)


@cache
def trained() -> nn.Module:
    """Half of the hidden channels of the first block matter very little."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        stem, head = nn.Conv2d(3, 16, 3), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))
        model = nn.Sequential(stem, Block(16, 48), Block(16, 48), *head).eval()
    with torch.no_grad():
        model[1].project.weight[:, ::2] *= 1e-3
        model[5].weight.mul_(20)
    return model


def samples() -> Tensor:
    return torch.randn(48, 3, *SIZE, generator=torch.Generator().manual_seed(0))


@cache
def library() -> Library:
    return kswap.block_library(trained(), samples(), progress=False, input_size=SIZE)


def converted(budget: str) -> kswap.Conversion:
    plan = library().plan_for(budget)
    return kswap.convert(trained(), plan=plan, init="project", calibration=samples(), progress=False, seed=0)


def test_one_unit_holds_all_that_one_narrowing_changes() -> None:
    assert [unit.name.split(" + ") for unit in library().units] == [
        [f"{block}.{layer}" for layer in ("expand", "project", "squeeze", "excite")] for block in (1, 2)
    ]
    for unit in library().units:
        widths = {narrowing.channels for choice in unit.choices for narrowing in choice.narrowings}
        assert widths <= {32, 24, 16}
        assert len(widths) > 1
        assert any(not choice.narrowings and choice.sites for choice in unit.choices)


def test_costs_are_known_before_anything_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    made = library()
    monkeypatch.setattr("kswap.budgets.block_library.layer_inputs", lambda *_: pytest.fail("it ran the network"))
    least = {
        q: sum(min(c.cost.of(q) for c in unit.choices) for unit in made.units) for q in ("params", "macs", "bytes")
    }
    kept = {q: sum(unit.kept.cost.of(q) for unit in made.units) for q in least}
    for quantity, value in least.items():
        reached = int(made.original.of(quantity) - kept[quantity] + value)
        made.solve(f"{quantity}={reached}")
        asked = {"progress": False, "input_size": SIZE, "budget": f"{quantity}={reached - 1}"}
        with pytest.raises(PlanError, match=f"can be reached is {reached:,}"):
            kswap.block_library(trained(), samples(), **asked)


def test_channels_that_matter_little_go_first() -> None:
    """At these few parameters the depthwise convolutions have to become smaller as well."""
    plan = library().plan_for("params=0.75")
    assert [item.hidden.expansion for item in plan.narrowings][:1] == ["1.expand"]
    first = library().units[0].choices
    halves = [c for c in first if c.narrowings and c.narrowings[0].channels == 24]
    assert min(choice.score for choice in halves) < 0.05 * max(choice.score for choice in first)


@pytest.mark.parametrize("budget", ["params=0.6", "params=0.35", "macs=0.4", "params=0.5, macs=0.4", "bytes=0.5"])
def test_what_is_built_is_what_was_planned_and_within_the_budget(budget: str) -> None:
    done = converted(budget)
    assert done.plan.narrowings
    assert done.report.params.after == sum(p.numel() for p in done.model.parameters())
    assert done.report.macs.after == observe(done.model, samples()[:1]).total.macs
    assert done.report.computations.after == (observe(done.model, samples()[:1]).total.operations + 5 * 5) // 2
    for limit in budget.split(", "):
        quantity, share = limit.split("=")
        if quantity != "bytes":
            assert getattr(done.report, quantity).ratio <= float(share)
    assert any("hidden channels taken out" in note for note in done.report.notes)


def test_the_depthwise_convolutions_shrink_where_blocks_alone_cannot_reach_the_budget(tmp_path: Path) -> None:
    done = converted("macs=0.3")
    assert done.model[1].depthwise.groups == done.plan.narrowings[0].channels
    assert Plan.from_json(json.loads(json.dumps(done.plan.to_json()))) == done.plan
    x = samples()[:2]
    loaded = kswap.load(done.save(tmp_path / "model"), model=trained())
    with torch.no_grad():
        assert torch.equal(loaded.model(x), done.model.eval()(x))


def test_rules_that_keep_a_layer_keep_its_hidden_channels() -> None:
    rules = {"rule": [{"match": {"name": "1.squeeze"}, "keep": True}]}
    made = kswap.block_library(trained(), samples(), rules=rules, progress=False, scoring="error", input_size=SIZE)
    assert {n.hidden.expansion for unit in made.units for c in unit.choices for n in c.narrowings} == {"2.expand"}


def test_a_plan_for_the_whole_budget_stays_as_it_is() -> None:
    plan = library().plan_for("params=1.0")
    assert not plan.narrowings
    assert plan.narrowed is None


def test_each_layer_belongs_to_one_of_the_narrowings_at_most() -> None:
    """The second of three layers makes channels and reads others."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3), *(nn.Conv2d(*sizes, 1) for sizes in ((8, 48), (48, 48), (48, 8))))
    call = Call((torch.zeros(1, 3, *SIZE),))
    settings = PlanSettings.of(4, "v2", None, placement="linear")
    (narrower,) = narrower_of(model, "model", settings, call, run_of(model, "model", call), ())
    assert narrower.names == ("1", "2")
    assert [sites["1"].site.out_channels for sites in narrower.sites.values()] == [32, 24, 16]
    assert (narrower.per_channel.params, narrower.per_channel.macs) == (8 + 1 + 48, (8 + 48) * 14 * 14)
