"""The comparisons that a request asks for, in the targets that are here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from kswap.benchmarks.request import ALL_TARGETS, BenchmarkRequest
from kswap.benchmarks.result import FORMS
from kswap.errors import DeployError
from kswap.runtimes.targets import TARGETS, check_target, eager_target, find_target
from kswap.runtimes.targets.target import Target


@dataclass(frozen=True)
class Step:
    """One comparison of a model pair."""

    batch: int
    target: str
    device: str
    mode: str
    form: str
    slice: int | None = None

    def __str__(self) -> str:
        mode = ", training" if self.mode == "training" else ""
        slices = f" in slices of {self.slice}" if self.slice else ""
        return f"{self.target} batch {self.batch}{slices} ({self.form}{mode})"

    @property
    def slices(self) -> int:
        """In how many parts the batch is run."""
        return self.batch // self.slice if self.slice else 1


def steps_of(request: BenchmarkRequest, targets: Sequence[str], device: torch.device) -> tuple[Step, ...]:
    """All comparisons of each model pair. Eager mode is also timed as converted, to show what optimising did."""
    found = []
    for batch in request.batches:
        for name in targets:
            target = find_target(name)
            forms = FORMS if target.is_eager else FORMS[:1]
            found += [Step(batch, name, target.device, "inference", form) for form in forms]
            if request.slice and batch > request.slice and batch % request.slice == 0:
                found.append(Step(batch, name, target.device, "inference", FORMS[0], request.slice))
        if request.train:
            name = eager_target(device.type).name
            found += [Step(batch, name, device.type, "training", form) for form in FORMS]
    return tuple(found)


def chosen_targets(names: Sequence[str], device: torch.device, asked: str = "auto") -> tuple[str, ...]:
    """The targets to measure, each once: ``"all"`` are those that are installed, and eager on a GPU is ``"cuda"``.

    Raises :class:`DeployError` for one that is unknown, not installed, or not on the device that was ``asked`` for.

    >>> chosen_targets(["eager", "eager"], torch.device("cpu"))
    ('eager',)
    """
    found: list[str] = []
    for name in names:
        for target in _usable(device, asked) if name == ALL_TARGETS else (check_target(name),):
            if target == eager_target("cpu"):  # the default, so it means PyTorch itself on the device
                target = eager_target(device.type)
            if asked != "auto" and target.device != device.type:
                raise DeployError(
                    f"target {target.name} contradicts --device {asked}: leave out one of them, or use target "
                    f"{eager_target(device.type).name}"
                )
            found.append(target.name)
    return tuple(dict.fromkeys(found))


def _usable(device: torch.device, asked: str) -> Iterator[Target]:
    """The targets that are installed, on the device that was asked for, or on it and the CPU."""
    devices = {"cpu", device.type} if asked == "auto" else {device.type}
    return (target for target in TARGETS.values() if target.device in devices and target.is_available)
