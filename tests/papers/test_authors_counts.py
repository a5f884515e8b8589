"""Parameters and computations of every network that the authors' code was run for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import kswap
from kswap.papers.recipes import RECIPES, Variant
from kswap.planner.counting import count_plan
from kswap.planner.plan import Counts

ROWS: list[tuple[str, int, int]] = [
    tuple(row)
    for row in json.loads((Path(__file__).parent.parent / "data" / "authors_counts.json").read_text(encoding="utf-8"))
]
FAMILIES = {
    "MobileNet": "kmobilenet",
    "MobileNetV3Large": "kmobilenet-v3-large",
    "DenseNet-BC-L100": "kdensenet-bc-l100",
    "InceptionV3": "kinception-v3",
    **{f"EfficientNet-B{size}": f"kefficientnet-b{size}" for size in range(8)},
}
# One of each family, and one of each variant: quick enough for every run.
QUICK = (
    "EfficientNet-B0|V2-noL-16ch|c10|32|skip3",
    "EfficientNet-B0|V2-ReLU-4ch|c10|32|skip3",
    "EfficientNet-B1|baseline|c10|224|skip-1",
    "MobileNet|V2-relu6-32ch|c10|224|skip-1",
    "MobileNetV3Large|V1-16ch|c100|224|skip-1",
)


def counts(network: str) -> Counts:
    """Our counts for one of the authors' networks, by its id."""
    family, variant, classes, side, skip = network.split("|")
    recipe = RECIPES[FAMILIES[family]]
    size, skip_stride_cnt = (int(side), int(side)), int(skip.removeprefix("skip"))
    arguments: dict[str, Any] = {"num_classes": int(classes.removeprefix("c")), "input_size": size}
    if variant == "baseline":
        return kswap.plan(recipe.source, skip_strides=recipe.strides_skipped(skip_stride_cnt), **arguments).before
    scheme, ch = variant[:2].lower(), int(variant.rpartition("-")[2].removesuffix("ch"))
    if family.startswith("DenseNet") and "relu" in variant:
        # Two runs with K alone and ReLU everywhere, as in the baseline.
        rules = {"second_layer": False}
        return count_plan(kswap.plan(recipe.source, ch=ch, scheme=scheme, rules=rules, **arguments))
    words = {"second_layer": "noL" not in variant, "relu": "ReLU" in variant}
    return count_plan(Variant(recipe, scheme, ch, skip_stride_cnt=skip_stride_cnt, **arguments, **words).plan())


def check(rows: list[tuple[str, int, int]]) -> None:
    found = {network: counts(network) for network, *_ in rows}
    ours = [(network, count.trainable_params, count.operations // 2) for network, count in found.items()]
    assert ours == rows


def test_one_network_of_each_kind() -> None:
    rows = [row for row in ROWS if row[0] in QUICK]
    assert len(rows) == len(QUICK)
    check(rows)


@pytest.mark.slow
def test_all_networks() -> None:
    assert len(ROWS) == 102
    check(ROWS)
