"""Statistics of times: an interval that holds what it says, and a verdict that does not call noise a win."""

from __future__ import annotations

import math
import random
import statistics
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kswap.errors import DeployError
from kswap.timing import Spread, TimeComparison, interleaved, median_interval

TIMES = st.floats(1e-4, 10, allow_nan=False)
MANY = st.integers(6, 60)


def three(rounds: st.SearchStrategy[int]) -> st.SearchStrategy[tuple[list[float], list[float], list[float]]]:
    return rounds.flatmap(lambda n: st.tuples(*(st.lists(TIMES, min_size=n, max_size=n) for _ in range(3))))


@given(st.lists(TIMES, min_size=6, max_size=80))
def test_the_interval_holds_the_median_and_is_made_of_samples(samples: list[float]) -> None:
    interval = median_interval(samples)
    assert interval is not None
    low, high = interval
    assert low <= statistics.median(samples) <= high
    assert {low, high} <= set(samples)


@given(st.lists(TIMES, max_size=5))
def test_five_samples_have_no_interval(samples: list[float]) -> None:
    assert median_interval(samples) is None


@pytest.mark.parametrize("count", [6, 15, 16, 60])
def test_the_interval_is_the_narrowest_that_covers_95_percent(count: int) -> None:
    interval = median_interval(range(1, count + 1))
    assert interval is not None
    rank = interval[0]
    assert interval[1] == count + 1 - rank
    assert coverage(count, rank) >= 0.95
    assert coverage(count, rank + 1) < 0.95


def coverage(count: int, rank: int) -> float:
    """The chance that the median lies between the ``rank``-th smallest and the ``rank``-th largest sample."""
    return 1 - 2 * sum(math.comb(count, k) for k in range(rank)) / 2**count


def test_the_interval_covers_as_often_as_it_says() -> None:
    draw = random.Random(1)
    hits = 0
    for _ in range(2000):
        interval = median_interval([draw.expovariate(1.0) for _ in range(15)])
        assert interval is not None
        hits += interval[0] <= math.log(2) <= interval[1]
    assert hits / 2000 > 0.94


@given(three(MANY))
def test_the_interval_holds_the_ratio(times: tuple[list[float], list[float], list[float]]) -> None:
    found = TimeComparison.of(*times)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.ratio <= found.high


@pytest.mark.parametrize(
    ("interval", "copies", "verdict"),
    [
        ((1.20, 1.30), (0.98, 1.02), "faster"),
        ((0.70, 0.80), (0.98, 1.02), "slower"),
        ((0.95, 1.30), (0.98, 1.02), "no difference"),  # the interval holds 1
        ((1.01, 1.30), (0.98, 1.02), "no difference"),  # an end within the noise
        ((0.70, 0.99), (0.98, 1.02), "no difference"),
        ((1.20, 1.30), (0.80, 1.02), "no difference"),  # copies differ by 1.25 in the other direction
        ((0.70, 0.80), (0.98, 1.30), "no difference"),
        ((1.26, 1.30), (0.80, 1.02), "faster"),
        ((1.01, 1.30), (1.00, 1.00), "faster"),
        ((1.00, 1.30), (1.00, 1.00), "no difference"),
    ],
)
def test_a_verdict_needs_the_interval_beyond_1_and_beyond_the_noise(
    interval: tuple[float, float], copies: tuple[float, float], verdict: str
) -> None:
    middle = math.sqrt(interval[0] * interval[1])
    assert TimeComparison(20, middle, *interval, 1.0, *copies).verdict == verdict


@given(three(st.integers(1, 5)))
def test_few_rounds_prove_nothing(times: tuple[list[float], list[float], list[float]]) -> None:
    found = TimeComparison.of(*times)
    assert (found.low, found.high, found.verdict) == (None, None, "too few rounds")


@given(st.lists(TIMES, min_size=6, max_size=60))
def test_identical_samples_are_no_difference(samples: list[float]) -> None:
    found = TimeComparison.of(samples, samples, samples)
    assert (found.ratio, found.low, found.high, found.verdict) == (1, 1, 1, "no difference")


@given(st.lists(TIMES, min_size=6, max_size=60), st.floats(1.01, 100))
def test_what_is_clearly_apart_is_told_apart(samples: list[float], factor: float) -> None:
    slower = [factor * sample for sample in samples]
    assert TimeComparison.of(slower, samples, slower).verdict == "faster"
    assert TimeComparison.of(samples, slower, samples).verdict == "slower"


@given(three(MANY), st.floats(0.25, 4))
def test_the_unit_of_time_does_not_matter(times: tuple[list[float], list[float], list[float]], factor: float) -> None:
    scaled = TimeComparison.of(*([factor * t for t in side] for side in times))
    assert scaled.ratio == pytest.approx(TimeComparison.of(*times).ratio)


@given(three(MANY))
def test_exchanging_the_sides_turns_the_interval_over(times: tuple[list[float], list[float], list[float]]) -> None:
    original, rewritten, copy = times
    there, back = TimeComparison.of(original, rewritten, copy), TimeComparison.of(rewritten, original, copy)
    assert there.low is not None
    assert back.high is not None
    assert back.high == pytest.approx(1 / there.low)


def test_a_small_win_within_the_noise_of_two_copies_is_none() -> None:
    original = [1.0] * 20
    rewritten = [0.95] * 20
    assert TimeComparison.of(original, rewritten, [1.0, 1.001] * 10).verdict == "faster"
    assert TimeComparison.of(original, rewritten, [0.9, 1.1] * 10).verdict == "no difference"
    # Copies that differ in one direction only: chance could as well have given the other.
    assert TimeComparison.of(original, rewritten, [0.9] * 20).verdict == "no difference"
    assert TimeComparison.of(rewritten, original, [0.9 * 0.95] * 20).verdict == "no difference"


def test_noise_alone_is_hardly_ever_called_a_difference() -> None:
    draw = random.Random(2)
    called = 0
    for _ in range(500):
        sides = ([draw.lognormvariate(0, 0.3) for _ in range(15)] for _ in range(3))
        called += TimeComparison.of(*sides).verdict != "no difference"
    assert called < 25


def test_comparisons_without_sense_are_refused() -> None:
    with pytest.raises(DeployError, match="same rounds"):
        TimeComparison.of([1.0, 1.0], [1.0], [1.0, 1.0])
    with pytest.raises(DeployError, match="same rounds"):
        TimeComparison.of([], [], [])
    with pytest.raises(DeployError, match="positive"):
        TimeComparison(8, math.nan, None, None, 1.0, None, None)


@given(st.lists(TIMES, min_size=1, max_size=60))
def test_quartiles_stand_around_the_median(samples: list[float]) -> None:
    found = Spread.of(samples)
    assert min(samples) <= found.q1 <= found.median <= found.q3 <= max(samples)
    assert found.median == pytest.approx(statistics.median(samples))


def test_every_run_is_called_once_a_round_in_changing_order() -> None:
    calls: list[str] = []
    told: list[int] = []
    times = interleaved(
        {name: lambda name=name: calls.append(name) for name in "abc"},  # type: ignore[misc]
        rounds=20,
        warmup=2,
        each=told.append,
    )
    assert Counter(calls) == dict.fromkeys("abc", 22)
    rounds = [tuple(calls[k : k + 3]) for k in range(6, len(calls), 3)]
    assert all(sorted(order) == ["a", "b", "c"] for order in rounds)
    assert len(set(rounds)) > 3
    assert {name: len(found) for name, found in times.items()} == dict.fromkeys("abc", 20)
    assert told == list(range(1, 21))


def test_time_ends_the_rounds_but_not_before_the_least() -> None:
    assert len(interleaved({"a": lambda: None}, rounds=50, seconds=1e-9, least=7)["a"]) == 7
    assert len(interleaved({"a": lambda: None}, rounds=5, seconds=1e-9, least=7)["a"]) == 5
    assert len(interleaved({"a": lambda: None}, rounds=50, seconds=60)["a"]) == 50


def test_no_rounds_are_refused() -> None:
    with pytest.raises(DeployError, match="rounds must be at least 1"):
        interleaved({"a": lambda: None}, rounds=0)
