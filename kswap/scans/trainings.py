"""The third stage: a network built and trained, in whatever process, from one value to another."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kswap.codec import decode, encode
from kswap.conversion import convert
from kswap.data.named import NAMED
from kswap.data.opening import Data
from kswap.errors import StudyError
from kswap.scans.settings import PlanningSettings, TrainingSettings
from kswap.scans.trial import Trained, Trial
from kswap.training.baseline import unconverted
from kswap.training.recipe import TrainingRecipe, load_training_recipe
from kswap.training.splits import splits_of, title_of, training_pictures
from kswap.training.train import train


@dataclass(frozen=True)
class TrainingRequest:
    """What a process needs to train one network.

    ``built_as`` is a trial with blocks of the same model: the original is planned like that, and nothing is replaced.
    ``out`` is where the trained network goes, and a stopped training is continued from.
    """

    trial: Trial
    built_as: Trial
    planning: PlanningSettings
    training: TrainingSettings
    out: str | None


def training_settings(
    recipe: str | Path | Mapping[str, Any] | TrainingRecipe,
    data: Data,
    data_dir: str | Path | None,
    epochs: float | None,
    seed: int,
    device: str,
) -> TrainingSettings:
    """Settings whose recipe and pictures are there. Raises :class:`kswap.errors.KswapError` subclasses."""
    loaded = load_training_recipe(recipe, epochs=epochs)
    listed = [data] if isinstance(data, str | Path) else list(data) if isinstance(data, list | tuple) else []
    if not listed or not all(isinstance(part, str | Path) for part in listed):
        raise StudyError("other processes read the pictures again: pass paths of folders and zips, or names of sets")
    parts = tuple(_absolute(str(part)) for part in listed)
    found = splits_of(parts, loaded, data_dir=data_dir)
    tested = found.test or found.validation
    if tested is None:
        raise StudyError(f"{title_of(found.train)} has no other pictures to measure accuracy on: add a split test")
    name = str(recipe) if isinstance(recipe, str | Path) else "of the caller"
    kept = None if data_dir is None else os.path.abspath(Path(data_dir).expanduser())
    shown = title_of(tested)
    for part in parts:
        shown = shown.replace(part, os.path.basename(part) or part)  # the folders above say nothing
    return TrainingSettings(name, loaded, parts, kept, seed, device, shown)


def class_count(settings: TrainingSettings) -> int:
    """How many classes the pictures have."""
    return len(training_pictures(settings.data, data_dir=settings.data_dir).classes)


def request_of(
    trial: Trial, built_as: Trial, planning: PlanningSettings, training: TrainingSettings, out: Path | None
) -> Any:
    """The request of one trial as JSON values, for :func:`trained` in another process."""
    return encode(TrainingRequest(trial, built_as, planning, training, None if out is None else str(out)))


def trained(asked: Any) -> Any:
    """Train the network that :func:`request_of` describes, and return a :class:`Trained` as JSON values.

    Raises :class:`kswap.errors.KswapError` subclasses.
    """
    request = decode(TrainingRequest, asked, "the request of a trial", StudyError)
    planning, training = request.planning, request.training
    blocks = request.built_as if request.trial.is_original else request.trial
    options = {
        "ch": blocks.ch,
        "scheme": blocks.scheme,
        "kind": blocks.kind,
        "rules": None if planning.rules is None else dict(planning.rules),
        "linear": planning.linear,
        "align": planning.align_of(blocks),
        "skip_strides": planning.skip_strides,
        "input_size": planning.input_size,
        "device": training.device,
        "seed": training.seed,
        **planning.model_kwargs,
    }
    build = unconverted if request.trial.is_original else convert
    done = train(
        build(request.trial.model, **options),
        training.data,
        recipe=training.recipe,
        data_dir=training.data_dir,
        seed=training.seed,
        out=request.out,
        force=False,
        progress=False,
    )
    tested = done.record.tested
    if tested is None:
        raise StudyError(f"there are no pictures to measure the accuracy of {request.trial} on")
    length = (done.record.epochs, done.record.seconds, done.record.images_per_second)
    return encode(Trained(tested.top1, tested.top1_hflip, *length))


def _absolute(part: str) -> str:
    """A path that another process finds; the name of a public set is unchanged."""
    named = part.partition(":")[0] in NAMED and not Path(part).exists()
    return part if named else os.path.abspath(Path(part).expanduser())
