"""Times that can be compared: interleaved runs, and what the ratios of their rounds prove.

Two times that were taken one after the other say little: clocks change, caches fill, neighbours wake up. So all
sides run in every round, each round yields one ratio, and the same is done with two copies of one side (A/A). What
the copies differ by is noise, and a difference that is no greater than that is none.
"""

from __future__ import annotations

import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from kswap.errors import DeployError

Verdict = Literal["faster", "slower", "no difference", "too few rounds"]

LEAST_ROUNDS = 15
MOST_ROUNDS = 60

_CONFIDENCE = 0.95


def interleaved(
    runs: Mapping[str, Callable[[], Any]],
    rounds: int = MOST_ROUNDS,
    warmup: int = 2,
    seconds: float | None = None,
    least: int = LEAST_ROUNDS,
    each: Callable[[int], object] = lambda done: None,
) -> dict[str, list[float]]:
    """Seconds that each of ``runs`` took, one entry a round, in the same process.

    In every round each run is called once, in an order that changes from round to round, after ``warmup`` calls of
    each that are not counted. ``rounds`` are made; with ``seconds`` no further round begins after so long, once
    there are ``least``. ``each`` is told how many rounds are done. Raises :class:`DeployError` for no rounds.

    >>> times = interleaved({"a": lambda: sum(range(10)), "b": lambda: sum(range(20))}, rounds=7)
    >>> len(times["a"]), len(times["b"]), all(t > 0 for t in times["a"])
    (7, 7, True)
    """
    if rounds < 1:
        raise DeployError(f"rounds must be at least 1, not {rounds}")
    for _ in range(warmup):
        for run in runs.values():
            run()
    order = list(runs)
    shuffle = random.Random(0).shuffle
    times: dict[str, list[float]] = {name: [] for name in runs}
    collects = gc.isenabled()
    gc.disable()  # a collection in the middle of a pass would be counted to that side
    try:
        start = time.perf_counter()
        for done in range(1, rounds + 1):
            shuffle(order)
            for name in order:
                began = time.perf_counter()
                runs[name]()
                times[name].append(max(time.perf_counter() - began, 1e-9))
            each(done)
            if seconds is not None and done >= least and time.perf_counter() - start >= seconds:
                break
    finally:
        if collects:
            gc.enable()
    return times


def median_interval(samples: Sequence[float], confidence: float = _CONFIDENCE) -> tuple[float, float] | None:
    """An interval that holds the median with at least ``confidence``, whatever the distribution is.

    The ends are order statistics: each sample is below the median with probability one half, so the number of
    those below is binomial. ``None`` where there are too few samples (fewer than 6 for 95%).

    >>> median_interval([3, 1, 2, 5, 4, 6]), median_interval([1, 2, 3, 4, 5])
    ((1, 6), None)
    """
    count = len(samples)
    below, rank = 0.0, 0  # the chance that fewer than `rank` samples are below the median
    while rank < count and below + math.comb(count, rank) / 2**count <= (1 - confidence) / 2:
        below += math.comb(count, rank) / 2**count
        rank += 1
    if rank == 0:
        return None
    ordered = sorted(samples)
    return ordered[rank - 1], ordered[count - rank]


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of one side's times, in seconds."""

    median: float
    q1: float
    q3: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        """Of at least one sample.

        >>> Spread.of([1.0, 2.0, 3.0, 4.0, 5.0])
        Spread(median=3.0, q1=2.0, q3=4.0)
        """
        if len(samples) == 1:
            return cls(samples[0], samples[0], samples[0])
        q1, median, q3 = statistics.quantiles(samples, n=4, method="inclusive")
        return cls(median, q1, q3)


@dataclass(frozen=True)
class TimeComparison:
    """How much faster the rewritten model is than the original, and whether that is more than noise.

    ``ratio`` is the median over the rounds of original time / rewritten time, so above 1 the rewritten one is
    faster; ``low`` and ``high`` are the ends of its 95% interval (``None`` below 6 rounds). ``aa_*`` are the same
    of a copy of the original against the original, whose true ratio is 1.
    """

    rounds: int
    ratio: float
    low: float | None
    high: float | None
    aa_ratio: float
    aa_low: float | None
    aa_high: float | None

    json_properties: ClassVar[tuple[str, ...]] = ("verdict",)

    def __post_init__(self) -> None:
        given = (self.ratio, self.low, self.high, self.aa_ratio, self.aa_low, self.aa_high)
        if not all(value is None or (math.isfinite(value) and value > 0) for value in given):
            raise DeployError(f"ratios of times are positive numbers, not {given}")

    @classmethod
    def of(cls, original: Sequence[float], rewritten: Sequence[float], copy: Sequence[float]) -> TimeComparison:
        """From the seconds of each round. ``copy`` are those of the original, prepared a second time.

        Raises :class:`DeployError` where the rounds do not match.

        >>> TimeComparison.of([2.0] * 8, [1.0] * 8, [2.0] * 8).verdict
        'faster'
        """
        rounds = len(original)
        if rounds < 1 or len(rewritten) != rounds or len(copy) != rounds:
            raise DeployError(
                f"a comparison needs the same rounds of all sides, not {rounds}, {len(rewritten)} and {len(copy)}"
            )
        ratios = [a / b for a, b in zip(original, rewritten, strict=True)]
        control = [a / b for a, b in zip(copy, original, strict=True)]
        low, high = median_interval(ratios) or (None, None)
        aa_low, aa_high = median_interval(control) or (None, None)
        return cls(rounds, statistics.median(ratios), low, high, statistics.median(control), aa_low, aa_high)

    @property
    def noise(self) -> float:
        """The greatest factor by which two copies of the same model may differ here; 1.0 is no noise at all.

        Chance decides to which side copies differ, so the factor counts in both directions.
        """
        if self.aa_low is None or self.aa_high is None:
            return math.inf
        return max(1.0, self.aa_high, 1 / self.aa_low)

    @property
    def verdict(self) -> Verdict:
        """``"faster"`` or ``"slower"`` only where the whole interval lies beyond 1 and beyond the noise."""
        if self.low is None or self.high is None:
            return "too few rounds"
        if self.low > self.noise:
            return "faster"
        if self.high < 1 / self.noise:
            return "slower"
        return "no difference"
