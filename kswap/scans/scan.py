"""``kswap.scan``: many networks planned in one process, timed and trained where that is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from kswap.benchmarks.environment import Machine
from kswap.errors import DeployError, ModelError, PlanError, StudyError, excerpt, wording
from kswap.planner.input_size import check_input_size
from kswap.planning import RuleSpec
from kswap.progress import progress_bar
from kswap.rules import load_rules
from kswap.scans.files import Stage, check_directory
from kswap.scans.grid import CHANNELS_PER_GROUP, Grid
from kswap.scans.latencies import Stopwatch, chosen_target
from kswap.scans.plans import Planner
from kswap.scans.result import Scan, rows_of
from kswap.scans.settings import LatencySettings, PlanningSettings
from kswap.scans.trial import Latency, Planned, Trial


def scan(
    models: str | Path | nn.Module | Sequence[str | Path | nn.Module],
    ch: int | Sequence[int] = CHANNELS_PER_GROUP,
    scheme: str | Sequence[str] = "v2",
    kind: str | Sequence[str] = "grouped",
    *,
    rules: RuleSpec = None,
    input_size: tuple[int, ...] | None = None,
    skip_strides: int = 0,
    linear: bool = False,
    latency: str | None = None,
    batch: int = 1,
    threads: int | None = None,
    rounds: int | None = None,
    autotune: bool = True,
    out: str | Path | None = None,
    progress: bool = True,
    command: str = "",
    **model_kwargs: Any,
) -> Scan:
    """Plan every model with every kind of block, scheme and Ch, and say which networks are on the Pareto front.

    Each model is built without weights, run and traced once. With ``latency`` every network is then built, optimised
    for that target and timed beside its original, in this process.

    Args:
        models: Names, saved directories or modules; one, or several.
        ch: Channels per group; one number, or several.
        scheme: ``"v1"``, ``"v2"``, or both.
        kind: Kinds of blocks: ``"grouped"``, ``"low-rank"``, ``"assigned"``; one, or several.
        rules: See :func:`kswap.plan`, as for ``input_size``, ``skip_strides`` and ``linear``. Rules may set Ch, scheme
            and kind of single sites, but not of all of them.
        latency: Where one pass of every network is timed: ``"eager"``, ``"onnxruntime"`` or another target.
        batch: Samples of that pass.
        threads: Threads of that pass; ``None`` leaves the number to the runtime.
        rounds: Of that comparison; else 15 to 60, for 10 seconds.
        autotune: Measure the implementation of each block for that; else it is estimated.
        out: A directory. Each trial leaves a file in it; what has one is not done again, where the settings are the
            same. The grid may grow. Not for modules.
        progress: Draw a bar on a terminal.
        command: The command line that makes the same scan, for the result.
        model_kwargs: Arguments of the builders of named models, such as ``num_classes=10``.

    Raises:
        KswapError: A model or a setting is wrong, or none of the networks can be made.

    >>> import kswap
    >>> found = kswap.scan("test_resnet", ch=[4, 8], scheme=["v1", "v2"], num_classes=10)
    >>> [(row.trial.setting, row.params.after) for row in found.front]
    [('grouped, v1, Ch 4', 335930)]
    """
    grid = Grid.of(ch, scheme, kind)
    given = _named(models)
    if out is not None and any(isinstance(model, nn.Module) for model in given.values()):
        raise StudyError("results of modules cannot be stored by their names: pass names of models, or leave out `out`")
    if input_size is not None:
        input_size = check_input_size(list(input_size), wording("input_size", "--input-size"), PlanError)
    if rules is not None:
        loaded = load_rules(rules)
        grid.check_rules(loaded)
        rules = loaded.to_json()
    planning = PlanningSettings(model_kwargs, input_size, rules, linear, skip_strides)
    timing = None
    if latency is not None:
        cpu = Machine.here(threads).cpu
        timing = LatencySettings(chosen_target(latency), batch, threads, rounds, autotune, cpu)
    planners = {name: Planner(model, planning) for name, model in given.items()}
    root = None if out is None else Path(out)
    if root is not None:
        check_directory(root)
    trials = [trial for name in given for trial in grid.trials(name)]
    plans = Stage("planning", Planned, root)
    _plan(plans, planning, planners, [trial for trial in trials if not trial.is_original], progress)
    made = [trial for trial in trials if trial in plans.found and plans.found[trial].replaced]
    if not made:
        raise PlanError(next(one.note for one in plans.found.values()))
    notes = [f"{trial}: {one.note}" for trial, one in plans.found.items() if one.note]
    times = Stage("latency", Latency, root)
    if timing is not None:
        watches = {name: Stopwatch(name, model, model_kwargs, timing) for name, model in given.items()}
        notes += _time(times, timing, planners, watches, made, progress)
    return Scan(
        rows_of(trials, plans.found, times.found, {}),
        planning,
        timing,
        None,
        Machine.here(threads) if timing is not None else None,
        tuple(notes),
        command,
    )


def _named(models: str | Path | nn.Module | Sequence[str | Path | nn.Module]) -> dict[str, str | nn.Module]:
    """The models by their names; a module is called by its class. Raises :class:`ModelError`."""
    one = isinstance(models, str | Path | nn.Module)
    listed: list[Any] = [models] if one else list(models)  # type: ignore[arg-type]
    found: dict[str, str | nn.Module] = {}
    for model in listed:
        if isinstance(model, nn.Module):
            name = type(model).__name__
            same = sum(isinstance(other, nn.Module) and type(other) is type(model) for other in found.values())
            found[f"{name} {same + 1}" if same else name] = model
        elif isinstance(model, str | Path):
            found[str(model)] = str(model)
        else:
            raise ModelError(f"a model is a name, a directory or a module, not {excerpt(repr(model))}")
    if not found:
        raise ModelError("there is nothing to scan: name a model")
    return found


def _plan(
    stage: Stage[Planned],
    settings: PlanningSettings,
    planners: Mapping[str, Planner],
    trials: Sequence[Trial],
    progress: bool,
) -> None:
    """Plan every trial that has no result yet. Every model is traced before anything is written."""
    missing = stage.missing(trials)
    first = {trial.model: trial for trial in reversed(missing)}
    with progress_bar("planning", len(first) + len(missing), shown=progress) as bar:
        for name, trial in first.items():
            bar.label(f"tracing {name}")
            planners[name].trace(trial)
            bar.advance()
        stage.claim(settings)
        bar.label("planning")
        for trial in missing:
            stage.add(trial, planners[trial.model].planned(trial))
            bar.advance(note=str(trial))


def _time(
    stage: Stage[Latency],
    settings: LatencySettings,
    planners: Mapping[str, Planner],
    watches: Mapping[str, Stopwatch],
    trials: Sequence[Trial],
    progress: bool,
) -> list[str]:
    """Time every trial that has no result yet. Returns what could not be timed, and why."""
    stage.claim(settings)
    missing, notes = stage.missing(trials), []
    with progress_bar("timing", len(missing), shown=progress, steady=False) as bar:
        for trial in missing:
            bar.label(f"timing {trial}")
            try:
                stage.add(trial, watches[trial.model].time(planners[trial.model].plan(trial)))
            except DeployError as error:
                notes.append(f"{trial} could not be timed: {error}")
            bar.advance()
    return notes
