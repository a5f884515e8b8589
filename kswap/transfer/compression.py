"""``kswap.compress``: a trained model becomes a small one in one go, and each stage is kept until all are done."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kswap.analysis.loaded_model import LoadedModel, load_model
from kswap.budgeting import block_library, check_budget
from kswap.codec import decode, encode
from kswap.conversion import convert, plan
from kswap.converted import Conversion
from kswap.data.opening import Data, picture_set
from kswap.data.picture_set import PictureSet
from kswap.data.prepared import fingerprint
from kswap.data.preprocessing import Preprocessing
from kswap.errors import TrainingError, excerpt, wording
from kswap.files import read_json, write_text
from kswap.graph.clone import full_clone
from kswap.inference.site_times import choice_seconds
from kswap.loading import load, original_model
from kswap.planner.budget import Budget
from kswap.planner.plan import Plan
from kswap.projection.calibration import IMAGES, Calibration
from kswap.report.calls import recorded
from kswap.saved.directory import check_writable
from kswap.saved.files import PLAN
from kswap.sources.check import check_trained
from kswap.sources.inputs import input_size_of
from kswap.training.weights import hash_of
from kswap.training.work import WorkDirectory
from kswap.transfer.compression_record import Compression, CompressionRecord, Stage
from kswap.transfer.distillation import distill
from kswap.transfer.recipe import Recipe, load_recipe
from kswap.transfer.record import DistillationRecord, read_record

# The end of the name of the directory that holds the stages, beside the result.
WORK_SUFFIX = ".compressing"

_PROJECTED, _DISTILLED, _STAGES = "projected", "distilled", "stages.json"
# Arguments of kswap.plan that say what becomes of the sites; those that a library of blocks takes, too.
_LIBRARY = ("scheme", "rules", "input_size", "skip_strides", "linear")
_PLANNING = (*_LIBRARY, "ch", "kind", "rank", "placement", "narrow", "ch_fraction", "align")


@recorded("kswap.compress")
@torch.inference_mode(False)
def compress(
    model: nn.Module | str,
    data: Data,
    out: str | Path,
    *,
    budget: str | Budget | None = None,
    init: str = "project",
    pretrained: bool = False,
    weights: str | Path | None = None,
    calibration_images: int = IMAGES,
    images: int | None = None,
    epochs: float | None = None,
    recipe: str | Path | Mapping[str, Any] | Recipe = "distill",
    lr: float | None = None,
    keep: str = "last",
    split: str | None = None,
    eval_data: Data | None = None,
    eval_split: str | None = None,
    eval_limit: int = 1000,
    preprocessing: Preprocessing | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    force: bool = False,
    resume: bool = True,
    progress: bool = True,
    target: str | None = None,
    threads: int | None = None,
    **options: Any,
) -> Compression:
    """Plan, project, distil and report: a trained model becomes a small one that answers alike.

    The stages are those of :func:`kswap.block_library` (where there is a budget), :func:`kswap.convert` and
    :func:`kswap.distill`. Each is written to ``OUT.compressing`` when it is done; a run that was stopped, in whatever
    way, continues there when it is called again. The report of the result has the accuracy after every stage.

    Args:
        model: A trained module, or a name as for :func:`kswap.convert` with ``pretrained`` or ``weights``.
        data: A folder or zip of pictures in any arrangement; labels are not needed.
        out: Where the result is saved, for :func:`kswap.load`.
        budget: The most that the result may have, such as ``"params=0.2"``; without it all sites get the same, as
            ``ch`` and the other arguments of :func:`kswap.convert` say.
        init: ``"project"``, or ``"fresh"`` for blocks that only distillation teaches anything.
        pretrained: Start from the published weights of a named model.
        weights: Start from a file of weights instead.
        calibration_images: How many pictures the blocks are fitted on.
        images: See :func:`kswap.distill`, as for all arguments that are not here.
        preprocessing: How pictures are prepared, instead of as the model states; their size included.
        target: Where times are measured for a budget of latency, with ``threads`` threads.
        options: Further arguments of :func:`kswap.convert`: ``ch``, ``rules``, ``input_size``, ``num_classes``.

    Raises:
        KswapError: A subclass; something cannot be read, does not fit or cannot be written.
    """
    if images is not None and epochs is not None:
        raise TrainingError("pass images or epochs, not both: each says how long to train")
    if init not in ("project", "fresh"):
        raise TrainingError(f"init must be 'project' or 'fresh', not '{excerpt(init)}'")
    made, asked = load_recipe(recipe, lr=lr), None if budget is None else Budget.of(budget)
    planning = {name: options.pop(name) for name in _PLANNING if name in options}
    _check_budget(asked, init, target, planning)
    trained: dict[str, Any] = {"pretrained": pretrained, "weights": weights} if isinstance(model, str) else {}
    source, original = original_model(model, options, **trained)
    if isinstance(model, str) and not pretrained and weights is None:
        check_trained(source)
    original = full_clone(original).eval() if isinstance(model, nn.Module) else original.eval()
    prepared = preprocessing or Preprocessing.of(original, _size_of(original, planning.get("input_size")))
    job = _Job(
        model,
        load_model(original, device if device is not None or not isinstance(model, str) else "auto", prepared),
        picture_set(data, split),
        asked,
        target,
        threads,
        init,
        planning | {"input_size": prepared.input_size},
        trained,
        options,
        calibration_images,
        seed,
        progress,
    )
    teaching: dict[str, Any] = {"images": images, "epochs": epochs, "recipe": made, "keep": keep, "seed": seed}
    teaching |= {"eval_data": eval_data, "eval_split": eval_split, "eval_limit": eval_limit}
    place = Path(out).expanduser().absolute()
    work = WorkDirectory(place.with_name(place.name + WORK_SUFFIX), job.settings | _plain(teaching))
    if resume and not force and (done := CompressionRecord.found(place, work.settings)) is not None:
        work.remove()
        return Compression(job.loaded_from(place), done.stages, read_record(place), place)
    check_writable(place, force)
    with work.opened(resume):
        projected = job.projected(work.path)
        taught = distill(
            projected,
            job.original.model,
            job.pictures,
            **teaching,
            out=work.path / _DISTILLED,
            preprocessing=prepared,
            progress=progress,
        )
        stages = _with_accuracies(job.stages, taught.record, init)
        CompressionRecord(work.settings, stages).save(work.path / _DISTILLED)
        work.move(work.path / _DISTILLED, place, force)
    return Compression(taught.conversion, stages, taught.record, place)


@dataclass
class _Job:
    """The stages up to the distillation, each read from the work directory where it was done before."""

    model: nn.Module | str
    original: LoadedModel
    pictures: PictureSet
    budget: Budget | None
    target: str | None
    threads: int | None
    init: str
    planning: dict[str, Any]
    trained: dict[str, Any]
    options: dict[str, Any]
    calibration_images: int
    seed: int
    progress: bool
    stages: list[Stage] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the result of these stages, as JSON values."""
        return {
            "model": self.original.title if isinstance(self.model, nn.Module) else self.model,
            "weights": hash_of(self.original.model),
            "budget": None if self.budget is None else str(self.budget),
            "target": self.target,
            "init": self.init,
            "planning": _plain(self.planning | self.options),
            "preprocessing": self.original.preprocessing.to_json(),
            "pictures": fingerprint(self.pictures),
            "calibration_images": self.calibration_images,
            "seed": self.seed,
            "device": self.original.device.type,
        }

    def projected(self, directory: Path) -> Conversion:
        """The conversion before the distillation."""
        path = directory / _PROJECTED
        self.stages = _read_stages(directory)
        if path.is_dir():
            return self.loaded_from(path)
        fitted = self.init == "project"
        samples = self._samples() if fitted or self.budget else None
        made = self._plan(directory, samples)
        start = time.perf_counter()
        done = convert(
            self.model,
            plan=made,
            init=self.init,
            calibration=samples if fitted else None,
            seed=self.seed,
            device=self.original.device,
            progress=self.progress,
            **self.trained,
            **self.options,
        )
        self._note(directory, _PROJECTED, start)
        done.save(path)
        return done

    def loaded_from(self, directory: Path) -> Conversion:
        """A conversion that this job saved."""
        base = self.model if isinstance(self.model, nn.Module) else None
        return load(directory, device=self.original.device, model=base, trust_source=True)

    def _samples(self) -> Calibration:
        pictures, prepared = self.pictures, self.original.preprocessing
        return Calibration.of_pictures(pictures, prepared, self.calibration_images, seed=self.seed)

    def _plan(self, directory: Path, samples: Calibration | None) -> Plan:
        """What becomes of each site."""
        path = directory / PLAN
        if path.is_file():
            return Plan.load(path)
        start = time.perf_counter()
        if self.budget is None or samples is None:
            linear = {"placement": "linear"} if self.init == "project" else {}
            made = plan(self.model, **(linear | self.planning), **self.options)
        else:
            made = self._plan_within(self.budget, samples)
        self._note(directory, "planned", start)
        made.save(path)
        return made

    def _plan_within(self, budget: Budget, samples: Calibration) -> Plan:
        taken = {name: value for name, value in self.planning.items() if name in _LIBRARY}
        given: dict[str, Any] = {"device": self.original.device, "seed": self.seed, "progress": self.progress}
        library = block_library(self.model, samples, budget=budget, **taken, **given, **self.trained, **self.options)
        if self.target is not None:
            measured = choice_seconds(library, self.original.model, self.target, self.threads, self.progress)
            library = library.with_seconds(measured.choices, measured.whole)
        return library.plan_for(budget)

    def _note(self, directory: Path, stage: str, start: float) -> None:
        self.stages = [*self.stages, Stage(stage, round(time.perf_counter() - start, 3))]
        write_text(directory / _STAGES, json.dumps(encode(self.stages)), TrainingError)


def _read_stages(directory: Path) -> list[Stage]:
    """What the stages took that were done before."""
    path = directory / _STAGES
    if not path.is_file():
        return []
    return decode(list[Stage], read_json(path, TrainingError), str(path), TrainingError)


def _size_of(model: nn.Module, asked: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """(channels, height, width) for a size that may lack the channels."""
    return (input_size_of(model)[0], *asked) if asked is not None and len(asked) == 2 else asked


def _check_budget(budget: Budget | None, init: str, target: str | None, planning: Mapping[str, Any]) -> None:
    if budget is None:
        if target is not None:
            raise TrainingError("a target is for a budget of latency: give such a budget as well")
        return
    check_budget(budget, {name: True for name in planning if name not in _LIBRARY}, init == "project", timed=True)
    if ("latency" in budget.quantities) != (target is not None):
        how = wording("pass both, target='onnxruntime' for one", "give both, --target onnxruntime for one")
        raise TrainingError(f"a budget of latency needs a target to measure times in, and nothing else does: {how}")


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of arguments as JSON values: what has no such value as text."""
    plain: dict[str, Any] = {}
    for name, value in values.items():
        try:
            plain[name] = encode(value)
        except TypeError:
            plain[name] = str(value)
    return plain


def _with_accuracies(stages: list[Stage], record: DistillationRecord, init: str) -> tuple[Stage, ...]:
    """The stages with what the distillation measured before its first step and after its last one."""
    name = _PROJECTED if init == "project" else "converted"
    original, before, after = record.stages(name).values()
    seconds = {stage.name: stage.seconds for stage in stages}
    return (
        Stage("original", 0.0, original),
        Stage("planned", seconds.get("planned", 0.0)),
        Stage(name, seconds.get(_PROJECTED, 0.0), before),
        Stage(_DISTILLED, record.seconds, after),
    )
