"""Peers with as many parameters as a network of kswap."""

from __future__ import annotations

import pytest

from kswap.errors import PlanError
from kswap.planner import BlockSettings, plan_block, plan_layer
from kswap.studies.matching import match_params

LAYERS = [(1152, 320), (672, 192), (480, 112), (240, 80), (192, 1152)]
WANTED = sum(plan_layer(*layer, 16).weights for layer in LAYERS)


def test_peers_of_the_grouped_block() -> None:
    alone = match_params(lambda ch: sum(plan_layer(*one, ch, second_layer=False).weights for one in LAYERS),
                         range(1, 129), WANTED)  # fmt: skip
    low_rank = match_params(
        lambda ch: sum(plan_block(*one, BlockSettings("low-rank", ch)).weights for one in LAYERS),
        range(1, 129), WANTED, tolerance=0.1,
    )  # fmt: skip
    assert alone.setting > 16  # K alone may have wider groups
    assert abs(alone.params - WANTED) <= 0.02 * WANTED
    assert abs(low_rank.params - WANTED) <= 0.1 * WANTED


def test_a_width_is_found_by_bisecting_and_counted_once() -> None:
    tried: list[float] = []

    def params_of(width: float) -> int:
        tried.append(width)
        return int(4_000_000 * width**2)

    found = match_params(params_of, [step / 1000 for step in range(100, 2000)], wanted=640_000)
    assert found.setting == pytest.approx(0.4, abs=0.004)
    assert len(tried) == len(set(tried)) < 25


def test_counts_that_go_down_in_between() -> None:
    assert match_params(lambda n: 100 * n - 250 * (n % 7 == 0), range(1, 60), wanted=3100).setting == 31


@pytest.mark.parametrize(("settings", "message"), [([], "no settings"), ([1, 2, 3], "nearest is 3 with 300")])
def test_a_number_out_of_reach_is_refused(settings: list[int], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        match_params(lambda n: 100 * n, settings, wanted=5000)
