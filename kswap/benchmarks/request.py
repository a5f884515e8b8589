"""What a benchmark is asked to measure. The Python function and the command line read their options from here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kswap.errors import DeployError
from kswap.planner.kinds import BLOCK_KINDS
from kswap.planner.schemes import SCHEMES
from kswap.runtimes.targets import TARGETS

ALL_TARGETS = "all"
OPTION = "kswap.option"


@dataclass(frozen=True)
class Option:
    """How a field is asked for on the command line.

    Args:
        flag: The option; ``--no-...`` turns off what is on by default.
        help: One line.
        metavar: What stands for the value in the help.
        choices: The values that are known, if not any.
        least: The least number.
        default_text: The default in the help, where it is not the field's.
    """

    flag: str
    help: str
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    least: int = 1
    default_text: str | None = None


def _option(default: Any, flag: str, help_: str, **more: Any) -> Any:
    return field(default=default, metadata={OPTION: Option(flag, help_, **more)})


@dataclass(frozen=True)
class BenchmarkRequest:
    """What is measured: each model with each ``ch``, at each batch, in each target.

    Args:
        models: Names, saved directories or modules; one, or several.
        ch: Channels per group; one number, or several. A saved directory has its own.
        scheme: How groups are chosen.
        kind: The kind of block, for models by name and modules.
        align: Channels and filters of groups in multiples of this number, for models by name and modules.
        num_classes: Classes of the classifier, for models by name.
        input_size: ``(height, width)`` or ``(channels, height, width)``; else the model's own.
        batches: Samples per pass; one number, or several.
        targets: Names of targets, or ``"all"`` for those that are installed. None is allowed with ``train``.
        slice: Larger batches are timed a second time in slices of this many samples.
        threads: Threads of one pass; ``None`` leaves the number to the runtime.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        train: Adds training steps in eager mode.
        rounds: Fixes the number of rounds of a comparison.
        seconds: How long a comparison goes on without ``rounds``; at least 15 rounds are made, at most 60.
        memory: Measures peaks of memory, each in a process of its own. Not for modules.
        autotune: Measures the implementation of each block; else it is estimated.
        native: Tries kswap's own kernel in ``eager``; it is compiled where it was not before.
        trust_source: Runs code of the user's own that a saved model was built by.
        command: The command line that makes the same measurements.

    Raises:
        DeployError: There is nothing to measure, or a number is too small.
    """

    models: tuple[Any, ...]
    ch: tuple[int, ...] = _option((16,), "--ch", "Channels per group.", metavar="N...", default_text="16")
    scheme: str = _option("v2", "--scheme", "How groups are chosen.", choices=tuple(SCHEMES))
    kind: str = _option("grouped", "--kind", "What replaces a convolution.", choices=tuple(BLOCK_KINDS))
    align: int | None = _option(
        None, "--align", "Channels and filters of groups in multiples of N, where they allow it.", metavar="N", least=2
    )
    num_classes: int | None = _option(None, "--num-classes", "Classes of the classifier.", least=0)
    input_size: tuple[int, ...] | None = _option(
        None, "--input-size", "224, 224,320 or 3,224,320; else the model's own.", metavar="SIZE"
    )
    batches: tuple[int, ...] = _option((1,), "--batch", "Samples per pass.", metavar="N...", default_text="1")
    targets: tuple[str, ...] = _option(
        ("eager",),
        "--targets",
        f"{', '.join(TARGETS)}, or {ALL_TARGETS} that are installed.",
        metavar="NAME...",
        choices=(*TARGETS, ALL_TARGETS),
        default_text="eager; none with --train",
    )
    slice: int | None = _option(
        None,
        "--slice",
        "Time larger batches also in slices of N samples, whose activations stay in cache.",
        metavar="N",
    )
    threads: int | None = _option(None, "--threads", "Threads of one pass; else the runtime's choice.", metavar="N")
    device: str = "auto"
    train: bool = _option(False, "--train", "Training steps in eager mode; passes too only with --targets.")
    rounds: int | None = _option(None, "--rounds", "Make N rounds, whatever the time.", metavar="N")
    seconds: float = _option(10.0, "--seconds", "For one comparison; 15 to 60 rounds are made.")
    memory: bool = _option(True, "--no-memory", "Leave out the peaks of memory: each takes a process of its own.")
    autotune: bool = _option(True, "--no-autotune", "Estimate the implementation of each block instead of measuring.")
    native: bool = _option(False, "--native", "Try kswap's own kernel too (eager): compiled by your C++ compiler.")
    trust_source: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        for name in ("models", "ch", "batches", "targets"):
            object.__setattr__(self, name, _several(getattr(self, name)))
        if not self.models:
            raise DeployError("there is nothing to measure: name a model")
        if not self.targets and not self.train:
            raise DeployError("there is nothing to measure: name a target, or ask for training")
        for label, values in (("ch", self.ch), ("batch", self.batches)):
            if not values or min(values) < 1:
                raise DeployError(f"{label} must be at least 1, not {min(values, default='none')}")
        for label, value in (("rounds", self.rounds), ("threads", self.threads), ("slice", self.slice)):
            if value is not None and value < 1:
                raise DeployError(f"{label} must be at least 1, not {value}")
        if not self.seconds > 0:
            raise DeployError(f"seconds must be more than 0, not {self.seconds:g}")


def _several(given: Any) -> tuple[Any, ...]:
    """One value or several as a tuple, each once; a module is one value, though some can be iterated over."""
    is_one = isinstance(given, str | Path | int) or hasattr(given, "forward") or not isinstance(given, Iterable)
    values = (given,) if is_one else tuple(given)
    return tuple(dict.fromkeys(str(value) if isinstance(value, Path) else value for value in values))
