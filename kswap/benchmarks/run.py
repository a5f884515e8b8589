"""Original and rewritten model side by side: built, treated alike, run in turns, compared."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kswap.benchmarks.environment import Machine
from kswap.benchmarks.memory import Side, peak_memory
from kswap.benchmarks.model_pair import Pair, Subject, weights_bytes
from kswap.benchmarks.result import FORMS, Benchmark, Row, Sizes
from kswap.benchmarks.training_step import channels_last, in_training, training_step
from kswap.benchmarks.worker import call_in_process
from kswap.conversion import plan
from kswap.errors import DeployError, KswapError
from kswap.inference.optimize import optimize_for_inference
from kswap.inference.record import optimization_of
from kswap.malloc import keeping_memory
from kswap.runtimes.prepared import slices_of, torch_threads
from kswap.runtimes.targets import TARGETS, check_target, eager_target, find_target, prepare
from kswap.runtimes.targets.target import Target
from kswap.saved.directory import read_report
from kswap.sources.device import choose_device
from kswap.timing import MOST_ROUNDS, Comparison, Spread, interleaved
from kswap.training.optimize import optimize_for_training

SECONDS = 10.0

_SIDES = ("original", "rewritten", "copy")


@dataclass(frozen=True)
class Request:
    """What is measured: each model with each ``ch``, at each batch, in each target.

    ``rounds`` fixes the number of rounds; without it a comparison goes on for ``seconds`` (at least 15 rounds, at
    most 60). With ``slice`` each larger batch is timed a second time in slices of so many samples. ``train`` adds
    training steps in eager mode. ``targets`` may be empty then.
    """

    models: tuple[str | nn.Module, ...]
    ch: tuple[int, ...] = (16,)
    scheme: str = "v2"
    batches: tuple[int, ...] = (1,)
    targets: tuple[str, ...] = ("eager",)
    threads: int | None = None
    device: str = "auto"
    train: bool = False
    rounds: int | None = None
    seconds: float = SECONDS
    num_classes: int | None = None
    input_size: tuple[int, ...] | None = None
    slice: int | None = None
    memory: bool = True
    autotune: bool = True
    trust_source: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        if not self.models:
            raise DeployError("there is nothing to measure: name a model")
        if not self.targets and not self.train:
            raise DeployError("there is nothing to measure: name a target, or ask for training")
        for name, values in (("ch", self.ch), ("batch", self.batches)):
            if not values or min(values) < 1:
                raise DeployError(f"{name} must be at least 1, not {min(values, default='none')}")
        for name, value in (("rounds", self.rounds), ("threads", self.threads), ("slice", self.slice)):
            if value is not None and value < 1:
                raise DeployError(f"{name} must be at least 1, not {value}")
        if not self.seconds > 0:
            raise DeployError(f"seconds must be more than 0, not {self.seconds:g}")

    @property
    def subjects(self) -> tuple[Subject, ...]:
        """One for each model and ``ch``; a saved directory has its own ``ch`` and is taken once."""
        found = []
        for model in self.models:
            for ch in self.ch:
                subject = Subject(model, ch, self.scheme, self.num_classes, self.input_size, self.trust_source)
                found.append(subject)
                if subject.is_saved:
                    break
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """For a fresh process; the models have to be names."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Request:
        """Read what :meth:`to_json` wrote."""
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in data.items()}
        return cls(**values)


def bench(
    models: str | Path | nn.Module | Sequence[str | Path | nn.Module],
    ch: int | Sequence[int] = 16,
    batches: int | Sequence[int] = 1,
    targets: str | Sequence[str] = "eager",
    threads: int | None = None,
    device: str = "auto",
    train: bool = False,
    rounds: int | None = None,
    seconds: float = SECONDS,
    scheme: str = "v2",
    num_classes: int | None = None,
    input_size: tuple[int, ...] | None = None,
    slice: int | None = None,
    memory: bool = True,
    autotune: bool = True,
    trust_source: bool = False,
    progress: bool = True,
) -> Benchmark:
    """Time models against their originals, both optimised alike, and say which differences are more than noise.

    ``models`` are names, saved directories or modules; each is taken with each ``ch``, at each batch, in each of
    ``targets`` (``"all"``: those that are installed), for about ``seconds`` a comparison or for ``rounds``. ``train``
    adds training steps. ``memory`` measures peaks in processes of their own (not for modules). Names and
    directories are measured in a fresh process in which glibc keeps memory between passes; modules in this one.
    Raises :class:`kswap.errors.KswapError` subclasses.

    ``bench("efficientnet_b0", batches=(1, 16)).rows[0].comparison.verdict`` is ``"faster"``, ``"slower"``,
    ``"no difference"`` or ``"too few rounds"``.
    """
    request = Request(
        models=_all_of(models, (str, Path, nn.Module)),
        ch=_all_of(ch, (int,)),
        scheme=scheme,
        batches=_all_of(batches, (int,)),
        targets=_all_of(targets, (str,)),
        threads=threads,
        device=device,
        train=train,
        rounds=rounds,
        seconds=seconds,
        num_classes=num_classes,
        input_size=input_size,
        slice=slice,
        memory=memory,
        autotune=autotune,
        trust_source=trust_source,
    )
    if any(isinstance(model, nn.Module) for model in request.models):
        return measured(request, progress)
    return measured_apart(request, progress)


def _all_of(given: Any, kinds: tuple[type, ...]) -> tuple[Any, ...]:
    values = (given,) if isinstance(given, kinds) else tuple(given)
    return tuple(str(value) if isinstance(value, Path) else value for value in values)


def measured_apart(request: Request, progress: bool = True) -> Benchmark:
    """As :func:`measured`, in a fresh process in which glibc keeps memory between passes. Models are names.

    Raises :class:`kswap.errors.KswapError` subclasses.
    """
    environment = keeping_memory(os.environ)
    asked = {"request": request.to_json(), "progress": progress}
    return Benchmark.from_json(call_in_process(answer, asked, environment))


def answer(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the fresh process of :func:`measured_apart` does."""
    return measured(Request.from_json(asked["request"]), bool(asked["progress"])).to_json()


def measured(request: Request, progress: bool = True) -> Benchmark:
    """Measure in this process. Everything that can be refused is refused before the first time is taken.

    One comparison of several that cannot be made becomes a note. Raises :class:`kswap.errors.KswapError`
    subclasses.
    """
    device = choose_device(request.device)
    chosen = chosen_targets(request.targets, device, request.device)
    for subject in request.subjects:
        _check(subject)
    steps = _steps(request, chosen, device)
    rows: list[Row] = []
    failures: list[tuple[str, KswapError]] = []
    with torch_threads(request.threads), _Bar(len(request.subjects) * len(steps), progress) as bar:
        for subject in request.subjects:
            pair = Pair.of(subject)
            for step in steps:
                label = f"{pair.report.model} Ch={pair.report.ch} {step}"
                bar.at(label)
                try:
                    rows.append(_row(request, subject, pair, step))
                except KswapError as error:
                    failures.append((label, error))
                bar.done()
            del pair
    if not rows:
        raise failures[0][1]
    notes = tuple(f"{label} could not be measured: {error}" for label, error in failures)
    return Benchmark(Machine.here(request.threads), tuple(rows), notes, request.command)


def chosen_targets(names: Sequence[str], device: torch.device, asked: str = "auto") -> tuple[str, ...]:
    """The targets to measure, each once: ``"all"`` are those that are installed, and eager on a GPU is ``"cuda"``.

    Raises :class:`DeployError` for one that is unknown, not installed, or not on the device that was ``asked`` for.

    >>> chosen_targets(["eager", "eager"], torch.device("cpu"))
    ('eager',)
    """
    found: list[str] = []
    for name in names:
        for target in _usable(device, asked) if name == "all" else (check_target(name),):
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


def _check(subject: Subject) -> None:
    """Refuse a model that is unknown or has nothing to replace, without building its weights."""
    if subject.is_saved:
        read_report(str(subject.model))
        return
    kwargs = {} if subject.num_classes is None else {"num_classes": subject.num_classes}
    plan(subject.model, subject.ch, subject.scheme, input_size=subject.input_size, **kwargs)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Step:
    """One comparison of a pair."""

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


def _steps(request: Request, chosen: Sequence[str], device: torch.device) -> tuple[_Step, ...]:
    """All comparisons of each pair. Eager mode is also timed as converted, to show what optimising did."""
    found = []
    for batch in request.batches:
        for target in chosen:
            place = find_target(target).device
            forms = FORMS if find_target(target).is_eager else FORMS[:1]
            found += [_Step(batch, target, place, "inference", form) for form in forms]
            if request.slice and batch > request.slice and batch % request.slice == 0:
                found.append(_Step(batch, target, place, "inference", FORMS[0], request.slice))
        if request.train:
            target = eager_target(device.type).name
            found += [_Step(batch, target, device.type, "training", form) for form in FORMS]
    return tuple(found)


def _row(request: Request, subject: Subject, pair: Pair, step: _Step) -> Row:
    """Make one comparison, and measure the memory of both sides where that is asked for."""
    inputs = pair.inputs(step.batch)
    if step.mode == "training":
        return _row_of(request, pair, step, pair.converted, _trained(request, pair, step, inputs))
    original, rewritten = pair.original, pair.converted
    if step.form == "optimised":
        part = slices_of(inputs, step.slices)[0]
        original, rewritten = (_optimised(request, model, step, part) for model in (original, rewritten))
    row = _row_of(request, pair, step, rewritten, _run(request, (original, rewritten), step, inputs))
    if not request.memory or step.form != "optimised" or step.slice or isinstance(subject.model, nn.Module):
        return row

    def peak(side: Side, model: nn.Module) -> int | None:
        with contextlib.suppress(KswapError):  # the times are worth more than to be lost for this
            return peak_memory(subject, side, step.batch, step.target, request.threads, _forms_of(model))
        return None

    return replace(row, memory_original=peak("original", original), memory_rewritten=peak("rewritten", rewritten))


def _optimised(request: Request, model: nn.Module, step: _Step, inputs: tuple[Tensor, ...]) -> nn.Module:
    return optimize_for_inference(
        model, example_input=inputs, target=step.target, autotune=request.autotune, threads=request.threads
    )


def _forms_of(model: nn.Module) -> dict[str, str]:
    """What :func:`optimize_for_inference` chose for each block."""
    return {name: str(id_) for name, id_ in optimization_of(model).implementations.items()}


def _run(
    request: Request, models: tuple[nn.Module, nn.Module], step: _Step, inputs: tuple[Tensor, ...]
) -> dict[str, list[float]]:
    """Seconds of passes of the original, the rewritten model, and the original prepared a second time."""
    original, rewritten = models
    sides = zip(_SIDES, (original, rewritten, original), strict=True)
    threads, slices = request.threads, step.slices
    return _times(
        request,
        step,
        {side: prepare(model, inputs, step.target, threads, slices=slices).run for side, model in sides},
    )


def _trained(request: Request, pair: Pair, step: _Step, inputs: tuple[Tensor, ...]) -> dict[str, list[float]]:
    """Seconds of training steps of copies of the same three."""
    device = torch.device(step.device)
    batch = tuple(channels_last(x, device) for x in inputs)
    runs = {}
    for side, model in zip(_SIDES, (pair.original, pair.converted, pair.original), strict=True):
        trained = in_training(model, device)
        if side == "rewritten" and step.form == "optimised":
            trained = optimize_for_training(trained, batch, autotune=request.autotune)
        runs[side] = training_step(trained, batch)
    return _times(request, step, runs)


def _times(request: Request, step: _Step, runs: Mapping[str, Callable[[], Any]]) -> dict[str, list[float]]:
    gc.collect()
    with find_target(step.target).settings(request.threads):
        if request.rounds is not None:
            return interleaved(runs, request.rounds)
        return interleaved(runs, MOST_ROUNDS, seconds=request.seconds)


def _row_of(request: Request, pair: Pair, step: _Step, stored: nn.Module, times: Mapping[str, Sequence[float]]) -> Row:
    report = pair.report
    sizes = (pair.original, pair.converted, stored)
    return Row(
        model=report.model,
        ch=report.ch,
        scheme=report.scheme,
        input_size=report.input_size,
        batch=step.batch,
        target=step.target,
        threads=request.threads or torch.get_num_threads(),
        device=step.device,
        mode=step.mode,
        form=step.form,
        slice=step.slice,
        comparison=Comparison.of(*(times[side] for side in _SIDES)),
        seconds_original=Spread.of(times["original"]),
        seconds_rewritten=Spread.of(times["rewritten"]),
        params=Sizes(*(sum(p.numel() for p in model.parameters()) for model in sizes)),
        macs_original=report.macs.before,
        macs_converted=report.macs.after,
        weights_bytes=Sizes(*(weights_bytes(model) for model in sizes)),
    )


class _Bar:
    """A progress bar on standard error; silent where that is no terminal."""

    def __init__(self, total: int, shown: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        # Drawn between comparisons only: a thread that draws would take time from what is measured.
        console = Console(stderr=True, highlight=False)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        disable = not (shown and console.is_interactive)
        self._progress = Progress(*columns, console=console, transient=True, disable=disable, auto_refresh=False)
        self._task = self._progress.add_task("building", total=total)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def at(self, label: str) -> None:
        self._progress.update(self._task, description=label, refresh=True)

    def done(self) -> None:
        self._progress.update(self._task, advance=1, refresh=True)
