"""What a benchmark found, as a value. Renderers turn it into text; nothing here runs a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from kswap.benchmarks.environment import Machine
from kswap.codec import decode, encode
from kswap.errors import DeployError
from kswap.timing import Spread, TimeComparison

MODES = ("inference", "training")
FORMS = ("optimised", "as converted")


@dataclass(frozen=True)
class Sizes:
    """One count of the original, of the model as it was converted (and trained), and as it is stored to run."""

    original: int
    converted: int
    stored: int


@dataclass(frozen=True)
class Seconds:
    """Of one pass or step of each side."""

    original: Spread
    rewritten: Spread


@dataclass(frozen=True)
class Macs:
    """Of the original and of the model as it was converted, for one sample."""

    original: int
    converted: int


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of each side; ``None`` where that was not measured or could not be."""

    original: int | None = None
    rewritten: int | None = None

    @property
    def is_measured(self) -> bool:
        return self.original is not None and self.rewritten is not None


@dataclass(frozen=True)
class Outside:
    """How much of the original's time is spent outside the layers that were replaced.

    ``share`` is of one pass, 0 to 1, as the target itself tells operator by operator; ``None`` where that was not
    measured, and then ``why_not`` says why.
    """

    share: float | None = None
    why_not: str = ""

    json_properties: ClassVar[tuple[str, ...]] = ("ceiling",)

    def __post_init__(self) -> None:
        if self.share is not None and not 0 <= self.share <= 1:
            raise DeployError(f"a share of time is from 0 to 1, not {self.share}")

    @property
    def ceiling(self) -> float | None:
        """The ratio if the replaced layers took no time at all; ``None`` where nobody knows, or nothing else is left.

        >>> Outside(0.5).ceiling
        2.0
        """
        return 1 / self.share if self.share else None


@dataclass(frozen=True)
class Row(TimeComparison):
    """One comparison of an original with its rewritten model, both treated alike.

    ``form`` says whether they were optimised for the ``target`` or run ``"as converted"``; ``mode`` whether a
    pass was timed or a training step. ``seconds`` are for one pass (or step) of ``batch`` samples. ``slice`` is how
    many samples of the batch were run at a time, ``None`` for all.
    """

    model: str
    ch: int
    scheme: str
    input_size: tuple[int, ...]
    batch: int
    target: str
    threads: int
    device: str
    mode: str
    form: str
    seconds: Seconds
    params: Sizes
    macs: Macs
    weights_bytes: Sizes
    memory_bytes: Memory = field(default_factory=lambda: Memory())
    slice: int | None = None
    kind: str = "grouped"
    align: int | None = None
    outside: Outside = field(default_factory=Outside)

    def __post_init__(self) -> None:
        super().__post_init__()
        for value, known in ((self.mode, MODES), (self.form, FORMS)):
            if value not in known:
                raise DeployError(f"a row of a benchmark is one of {', '.join(known)}, not '{value}'")

    @property
    def setting(self) -> str:
        """Target and what was run there, in short: ``eager``, ``eager, as converted``, ``eager, training``."""
        mode = ["training"] if self.mode == "training" else []
        form = [self.form] if self.form != "optimised" else []
        slices = [f"slices of {self.slice}"] if self.slice else []
        return ", ".join([self.target, *mode, *form, *slices])

    @property
    def comparison(self) -> TimeComparison:
        """The numbers of the comparison alone."""
        return self


@dataclass(frozen=True)
class Benchmark:
    """All comparisons of one run, the machine that they were made on, and the command that makes them again.

    ``notes`` say what could not be measured, and why.
    """

    machine: Machine
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    command: str = ""

    def remarks(self) -> tuple[str, ...]:
        """What a reader has to know to believe the numbers, one sentence each."""
        lines = [
            "ratio = original time / rewritten time, the median over rounds in which both run in changing order, in "
            "one process, both treated alike; in brackets its 95% interval",
            "faster or slower only where the interval lies beyond 1 and beyond what two copies of the original differ "
            f"by (here up to {self.noise - 1:.1%})"
            if self.noise < float("inf")
            else "fewer than 6 rounds prove nothing: there is no 95% interval",
        ]
        if self.machine.keeps_memory:
            lines.append(f"memory is kept between passes, for both sides ({', '.join(self.machine.malloc)})")
        if self.has_memory:
            lines.append("memory is the peak of a process that runs only that model, without what it held before")
        if self.has_ceiling:
            lines.append(
                "ceiling = the ratio if the replaced layers took no time at all; in brackets the share of the "
                "original's time outside of them, operator by operator in the same runtime"
            )
        reasons = dict.fromkeys((row.setting, row.outside.why_not) for row in self.rows if row.outside.why_not)
        lines += [f"no ceiling for {setting}: {why}" for setting, why in reasons]
        return (*lines, *self.notes)

    @property
    def has_ceiling(self) -> bool:
        """Whether the ceiling of any row is known."""
        return any(row.outside.ceiling is not None for row in self.rows)

    @property
    def has_memory(self) -> bool:
        """Whether memory was measured for any row."""
        return any(row.memory_bytes.is_measured for row in self.rows)

    @property
    def noise(self) -> float:
        """The greatest factor by which copies of an original differed in any row."""
        return max((row.comparison.noise for row in self.rows), default=1.0)

    def to_json(self) -> dict[str, Any]:
        """The benchmark as JSON values (keys may be added, none is renamed)."""
        data: dict[str, Any] = encode(self)
        return data


def read_benchmark(data: Any) -> Benchmark:
    """Read what :meth:`Benchmark.to_json` wrote; verdicts are found again from the numbers.

    Raises :class:`DeployError` for anything else.
    """
    return decode(Benchmark, data, "the benchmark", DeployError)
