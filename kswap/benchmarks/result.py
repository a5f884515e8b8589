"""What a benchmark found, as a value. Renderers turn it into text; nothing here runs a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kswap.benchmarks.environment import Machine
from kswap.errors import DeployError
from kswap.timing import Comparison, Spread

MODES = ("inference", "training")
FORMS = ("optimised", "as converted")


@dataclass(frozen=True)
class Sizes:
    """One count of the original, of the model as it was converted (and trained), and as it is stored to run."""

    original: int
    converted: int
    stored: int


@dataclass(frozen=True)
class Row:
    """One comparison of an original with its rewritten model, both treated alike.

    ``form`` says whether they were optimised for the ``target`` or run ``"as converted"``; ``mode`` whether a
    pass was timed or a training step. ``seconds_*`` are for one pass (or step) of ``batch`` samples. ``params`` and
    ``weights_bytes`` are of the models, ``macs`` those of the original and as converted, for one sample.
    ``memory_*`` are bytes at the peak, ``None`` where they were not measured or could not be. ``slice`` is how many
    samples of the batch were run at a time, ``None`` for all.
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
    comparison: Comparison
    seconds_original: Spread
    seconds_rewritten: Spread
    params: Sizes
    macs_original: int
    macs_converted: int
    weights_bytes: Sizes
    memory_original: int | None = None
    memory_rewritten: int | None = None
    slice: int | None = None

    def __post_init__(self) -> None:
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

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values; the ratio and its verdict stand with the row."""
        found = self.comparison
        return {
            "ratio": found.ratio,
            "low": found.low,
            "high": found.high,
            "verdict": found.verdict,
            "aa_ratio": found.aa_ratio,
            "aa_low": found.aa_low,
            "aa_high": found.aa_high,
            "rounds": found.rounds,
            "model": self.model,
            "ch": self.ch,
            "scheme": self.scheme,
            "input_size": list(self.input_size),
            "batch": self.batch,
            "target": self.target,
            "threads": self.threads,
            "device": self.device,
            "mode": self.mode,
            "form": self.form,
            "slice": self.slice,
            "seconds": {"original": asdict(self.seconds_original), "rewritten": asdict(self.seconds_rewritten)},
            "params": asdict(self.params),
            "macs": {"original": self.macs_original, "converted": self.macs_converted},
            "weights_bytes": asdict(self.weights_bytes),
            "memory_bytes": {"original": self.memory_original, "rewritten": self.memory_rewritten},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Row:
        """Read what :meth:`to_json` wrote; the verdict is found again from the numbers."""
        ratios = {key: data[key] for key in ("rounds", "ratio", "low", "high", "aa_ratio", "aa_low", "aa_high")}
        texts: dict[str, Any] = {key: str(data[key]) for key in ("model", "scheme", "target", "device", "mode", "form")}
        return cls(
            **texts,
            ch=int(data["ch"]),
            batch=int(data["batch"]),
            threads=int(data["threads"]),
            input_size=tuple(int(n) for n in data["input_size"]),
            comparison=Comparison(**ratios),
            seconds_original=Spread(**data["seconds"]["original"]),
            seconds_rewritten=Spread(**data["seconds"]["rewritten"]),
            params=Sizes(**data["params"]),
            macs_original=int(data["macs"]["original"]),
            macs_converted=int(data["macs"]["converted"]),
            weights_bytes=Sizes(**data["weights_bytes"]),
            memory_original=data["memory_bytes"]["original"],
            memory_rewritten=data["memory_bytes"]["rewritten"],
            slice=data.get("slice"),
        )


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
        if any(row.memory_original is not None for row in self.rows):
            lines.append("memory is the peak of a process that runs only that model, without what it held before")
        return (*lines, *self.notes)

    @property
    def noise(self) -> float:
        """The greatest factor by which copies of an original differed in any row."""
        return max((row.comparison.noise for row in self.rows), default=1.0)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values (keys may be added, none is renamed)."""
        return {
            "machine": self.machine.to_json(),
            "command": self.command,
            "rows": [row.to_json() for row in self.rows],
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, data: Any) -> Benchmark:
        """Read what :meth:`to_json` wrote. Raises :class:`DeployError` for anything else."""
        try:
            return cls(
                Machine.from_json(data["machine"]),
                tuple(Row.from_json(row) for row in data["rows"]),
                tuple(str(note) for note in data["notes"]),
                str(data["command"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DeployError(f"this is no kswap benchmark: {type(error).__name__} at {error}") from error
