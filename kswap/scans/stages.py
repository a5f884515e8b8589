"""The stages of a scan: each does what has no result yet, and keeps every result as soon as it is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing

from kswap.codec import decode
from kswap.errors import DeployError, StudyError
from kswap.progress import progress_bar
from kswap.scans.executors.executor import Executor
from kswap.scans.files import Stage
from kswap.scans.latencies import Stopwatch
from kswap.scans.plans import Planner
from kswap.scans.settings import LatencySettings, PlanningSettings, TrainingSettings
from kswap.scans.trainings import request_of, trained
from kswap.scans.trial import Latency, Planned, Trained, Trial


def plan_all(
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


def time_all(
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


def train_all(
    stage: Stage[Trained],
    settings: TrainingSettings,
    planning: PlanningSettings,
    executor: Executor,
    trials: Sequence[Trial],
    progress: bool,
) -> list[str]:
    """Train every trial that has no result yet. Returns what could not be trained, and why.

    Raises :class:`kswap.errors.KswapError` where none could.
    """
    stage.claim(settings)
    missing = stage.missing(trials)
    built_as = {trial.model: trial for trial in reversed(trials) if not trial.is_original}
    requests = [request_of(trial, built_as[trial.model], planning, settings, stage.work_of(trial)) for trial in missing]
    notes: list[str] = []
    with (
        progress_bar("training", len(missing), shown=progress) as bar,
        closing(executor.run(trained, requests)) as done,
    ):
        for outcome in done:
            trial, error = missing[outcome.number], outcome.error
            if error is None:
                found = decode(Trained, outcome.value, f"the answer of {trial}", StudyError)
                stage.add(trial, found)
                said = f"{trial}: accuracy {found.top1:.2%}"
            else:
                said = f"{trial} could not be trained: {error}"
                notes.append(said)
                if not stage.found and len(notes) == len(missing):
                    raise error
            if progress:
                bar.log(said)
            bar.advance()
    return notes
