"""Plans that kswap 0.1.0 wrote (format 1) are still read, and mean the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import kswap

SAVED = Path(__file__).parents[1] / "data" / "saved_by_0_1_0"


@pytest.mark.parametrize(
    ("file", "name", "arguments"),
    [
        ("plan-linear.json", "test_vit", {"ch": 8, "linear": True, "num_classes": 5}),
        (
            "plan-v1.json",
            "resnet18",
            {"ch": 16, "scheme": "v1", "rules": {"rule": [{"match": {"name": "layer2.*"}, "keep": True, "why": "no"}]}},
        ),
        ("test_efficientnet/plan.json", "test_efficientnet", {"ch": 4, "num_classes": 5, "skip_strides": 1}),
    ],
)
def test_a_plan_of_format_1_is_the_plan_of_today(file: str, name: str, arguments: dict) -> None:
    old = kswap.Plan.load(SAVED / file)
    today = kswap.plan(name, **arguments)
    assert old.sites == today.sites
    assert (old.before, old.edits, old.scheme, old.ch) == (today.before, today.edits, today.scheme, today.ch)
    assert old.kind == "grouped"


def test_layouts_of_format_1_are_replayed_as_they_are_stored() -> None:
    data = json.loads((SAVED / "plan-linear.json").read_text())
    site = next(site for site in data["sites"] if site["action"] == "replace" and site["k"] is not None)
    layout = {"groups": 2, "filters_per_group": site["out_channels"] // 2, "extra_groups": 0}
    site["k"] = {**layout, "group_width": site["in_channels"] // 2, "replicated": 0}
    assert kswap.Plan.from_json(data)[site["name"]].layer.k.groups == 2
