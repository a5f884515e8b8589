"""``kswap.scan``: many networks planned in one process, timed and trained where that is asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from kswap.benchmarks.environment import Machine
from kswap.data.opening import Data
from kswap.errors import ModelError, PlanError, StudyError, excerpt, wording
from kswap.planner.input_size import check_input_size
from kswap.planning import RuleSpec
from kswap.rules import load_rules
from kswap.scans.executors import executor_of
from kswap.scans.executors.executor import Settings
from kswap.scans.files import Stage, check_directory
from kswap.scans.grid import CHANNELS_PER_GROUP, Grid
from kswap.scans.latencies import Stopwatch, chosen_target
from kswap.scans.plans import Planner
from kswap.scans.result import Scan, rows_of
from kswap.scans.settings import LatencySettings, PlanningSettings, TrainingSettings
from kswap.scans.stages import plan_all, time_all, train_all
from kswap.scans.trainings import class_count, training_settings
from kswap.scans.trial import Latency, Planned, Trained
from kswap.training.recipe import TrainingRecipe


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
    align: int | None = None,
    latency: str | None = None,
    batch: int = 1,
    threads: int | None = None,
    rounds: int | None = None,
    autotune: bool = True,
    train: str | Path | Mapping[str, Any] | TrainingRecipe | None = None,
    data: Data | None = None,
    data_dir: str | Path | None = None,
    epochs: float | None = None,
    seed: int = 0,
    device: str = "auto",
    workers: int | None = None,
    ray: str | None = None,
    out: str | Path | None = None,
    progress: bool = True,
    command: str = "",
    **model_kwargs: Any,
) -> Scan:
    """Plan every model with every kind of block, scheme and Ch, and say which networks are on the Pareto front.

    Each model is built without weights, run and traced once. With ``latency`` every network is then built, optimised
    for that target and timed beside its original, in this process. With ``train`` every network, and the original, is
    trained from fresh weights by the same recipe, in other processes.

    Args:
        models: Names, saved directories or modules; one, or several.
        ch: Channels per group; one number, or several.
        scheme: ``"v1"``, ``"v2"``, or both.
        kind: Kinds of blocks: ``"grouped"``, ``"low-rank"``, ``"assigned"``; one, or several.
        rules: See :func:`kswap.plan`, as for ``input_size``, ``skip_strides`` and ``linear``. Rules may set Ch, scheme
            and kind of single sites, but not of all of them.
        align: Channels and filters of groups in multiples of this number where they allow it; for kinds with groups.
        latency: Where one pass of every network is timed: ``"eager"``, ``"onnxruntime"`` or another target.
        batch: Samples of that pass.
        threads: Threads of that pass; ``None`` leaves the number to the runtime.
        rounds: Of that comparison; else 15 to 60, for 10 seconds.
        autotune: Measure the implementation of each block for that; else it is estimated.
        train: The recipe that every network is trained by; see :func:`kswap.train`, as for ``data``, ``data_dir`` and
            ``epochs``. Classes are those of the pictures, unless ``num_classes`` says otherwise.
        seed: Of the fresh weights, and of the order of the pictures.
        device: Where they are trained: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        workers: How many are trained at a time: one without it; on a cluster, as many as there is room for.
        ray: Train on a Ray cluster: its address, ``"auto"``, or ``"local"`` to start one on this machine. Models,
            pictures and ``out`` must be on all its machines under the same paths.
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
    executor = executor_of("local" if ray is None else "ray", Settings(workers, ray or "local", device))
    training = None
    if train is not None:
        executor.check()
        training = _training(given, train, data, data_dir, epochs, seed, device)
        if not any(":" in name for name in given):  # a factory of the user's may know no classes
            model_kwargs.setdefault("num_classes", class_count(training))
    elif data is not None:
        how = wording("train=", "--train RECIPE")
        raise StudyError(f"the pictures are for training: add a recipe with {how}, or leave them out")
    planning = PlanningSettings(model_kwargs, input_size, rules, linear, skip_strides, align)
    planning.check_aligns(grid.trials(""))
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
    plan_all(plans, planning, planners, [trial for trial in trials if not trial.is_original], progress)
    made = [trial for trial in trials if trial in plans.found and plans.found[trial].replaced]
    if not made:
        raise PlanError(next(one.note for one in plans.found.values()))
    notes = [f"{trial}: {one.note}" for trial, one in plans.found.items() if one.note]
    times, trainings = Stage("latency", Latency, root), Stage("training", Trained, root)
    if timing is not None:
        watches = {name: Stopwatch(name, model, model_kwargs, timing) for name, model in given.items()}
        notes += time_all(times, timing, planners, watches, made, progress)
    if training is not None:
        replaced = {trial.model for trial in made}
        chosen = [trial for trial in trials if trial in made or (trial.is_original and trial.model in replaced)]
        notes += train_all(trainings, training, planning, executor, chosen, progress)
    return Scan(
        rows_of(trials, plans.found, times.found, trainings.found),
        planning,
        timing,
        training,
        Machine.here(threads) if timing is not None else None,
        tuple(notes),
        command,
    )


def _training(given: Mapping[str, str | nn.Module], recipe: Any, data: Data | None, *more: Any) -> TrainingSettings:
    """How every network is trained. Raises :class:`kswap.errors.KswapError` subclasses."""
    if data is None:
        how = wording("data=", "--data PATH")
        raise StudyError(f"training needs pictures: pass them with {how}")
    if any(isinstance(model, nn.Module) for model in given.values()):
        raise StudyError("networks are built again where they are trained: pass names of models instead of modules")
    saved = next((name for name in given if os.path.isdir(name)), None)
    if saved is not None:
        raise StudyError(
            f"every network is trained from fresh weights, and {excerpt(saved)} has its own: name the model it was "
            "made from"
        )
    return training_settings(recipe, data, *more)


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
