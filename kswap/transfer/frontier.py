"""Accuracy without training against budget: one library of blocks, and one projected network per budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from torch import nn

from kswap.analysis.evaluation import evaluate_loaded
from kswap.analysis.loaded_model import LoadedModel, load_model
from kswap.budgeting import block_library
from kswap.codec import Between, encode
from kswap.conversion import convert
from kswap.data.opening import Data, image_set, picture_set
from kswap.data.picture_set import LabelledPictures, PictureSet
from kswap.data.splits import TRAIN
from kswap.errors import DataError, PlanError, wording
from kswap.inference.site_times import choice_seconds
from kswap.planner.budget import Budget, Limit
from kswap.planner.counting import count_plan
from kswap.planning import RuleSpec
from kswap.progress import progress_bar
from kswap.projection.calibration import IMAGES, Calibration

BUDGETS = ("params=0.4", "params=0.2", "params=0.14", "params=0.1")


@dataclass(frozen=True)
class FrontierPoint:
    """A network that keeps a budget, right after projection: what it has, and its accuracy, from 0 to 1.

    ``budget`` is empty for the original. ``replaced`` counts its blocks, ``narrowed`` the places with fewer hidden
    channels.
    """

    budget: str
    params: int
    macs: int
    replaced: int
    narrowed: int
    top1: Annotated[float, Between(0, 1)]


@dataclass(frozen=True)
class Frontier:
    """Accuracy without training against budget; ``points`` are in the order of the budgets.

    ``data`` says which labelled pictures the accuracy was measured on, ``images`` how many; ``calibration`` which
    other ones the blocks were chosen and fitted by, ``samples`` how many. ``notes`` name budgets out of reach.
    """

    model: str
    data: str
    images: int
    calibration: str
    samples: int
    scoring: str
    seed: int
    original: FrontierPoint
    points: tuple[FrontierPoint, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values, with the shares of the original that are left."""
        table = {f: encode(getattr(self, f)) for f in self.__dataclass_fields__}
        return table | {"points": [encode(point) | self.shares(point) for point in self.points]}

    def shares(self, point: FrontierPoint) -> dict[str, float]:
        """Parameters and MACs of ``point`` as shares of the original's."""
        return {
            "params_ratio": point.params / self.original.params,
            "macs_ratio": point.macs / max(self.original.macs, 1),
        }


def budgets_of(texts: Sequence[str | Budget]) -> tuple[Budget, ...]:
    """Budgets from texts; a number alone is one of parameters.

    Raises :class:`PlanError`.

    >>> [str(budget) for budget in budgets_of(["0.4", "params=0.2,macs=0.3"])]
    ['params=0.4', 'params=0.2, macs=0.3']
    """
    found = []
    for text in texts:
        named = isinstance(text, str) and "=" not in text
        found.append(Budget((Limit.parse(f"params={text}"),)) if named else Budget.of(text))
    if not found:
        raise PlanError("a frontier needs at least one budget, such as 0.2")
    return tuple(found)


def frontier(
    model: nn.Module | str,
    data: Data,
    budgets: Sequence[str | Budget] = BUDGETS,
    *,
    calibration: Data | None = None,
    split: str | None = None,
    images: int = IMAGES,
    limit: int | None = None,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    input_size: tuple[int, ...] | None = None,
    rules: RuleSpec = None,
    linear: bool = False,
    scoring: str = "outputs",
    target: str | None = None,
    threads: int | None = None,
    device: str | None = None,
    seed: int = 0,
    batch: int = 64,
    progress: bool = True,
    **model_kwargs: Any,
) -> Frontier:
    """Accuracy right after projection, without any training, for several budgets; ``model`` is unchanged.

    Args:
        model: trained: a module, or a name, which is built with its published weights or those of ``weights``.
        data: labelled pictures, a folder or zip of ``SPLIT/CLASS/FILE`` or ``CLASS/FILE``.
        budgets: each one or more limits (see :class:`kswap.Budget`); a number alone is one of parameters.
        calibration: pictures that blocks are chosen and fitted by, labels not needed; without it the split
            ``train`` of ``data``, which must then be another one than ``split``.
        split: which split of ``data`` the accuracy is measured on.
        images: how many pictures calibrate.
        limit: at most this many pictures for the accuracy, evenly over all.
        weights: a file of trained weights for a name, with ``num_classes`` where they are not the model's own.
        input_size: (height, width) or (channels, height, width); without it, the model's own.
        rules: which layers stay, see :mod:`kswap.rules`.
        linear: replace Linear layers too.
        scoring: see :func:`kswap.block_library`.
        target: where times are measured, for budgets of latency.
        threads: of one operator, for these times.
        device: where everything runs.
        seed: of pictures and fits.
        batch: pictures per forward pass, for the accuracy.
        progress: draw progress bars.
        model_kwargs: other arguments of the builder of a name, such as ``act_layer="relu"``.

    Raises :class:`kswap.errors.KswapError` subclasses; :class:`PlanError` where no budget can be reached.
    """
    asked = budgets_of(budgets)
    limited = any("latency" in budget.quantities for budget in asked)
    if limited and target is None:
        raise PlanError(f"a budget of latency is measured where the model will run: {wording('pass', 'add --')}target")
    labelled = image_set(data, split)
    pictures = _calibrated_on(labelled, calibration)
    loaded = load_model(model, device, weights=weights, num_classes=num_classes, model_kwargs=model_kwargs)
    if input_size is not None:
        channels, *_ = loaded.preprocessing.input_size
        height, width = input_size[-2:]
        full = (input_size[0] if len(input_size) == 3 else channels, height, width)
        loaded = loaded.prepared_by(replace(loaded.preprocessing, input_size=full))
    samples = Calibration.of_pictures(pictures, loaded.preprocessing, images, seed=seed)
    common: dict[str, Any] = {"input_size": loaded.preprocessing.input_size, "seed": seed, "progress": progress}
    measured = evaluate_loaded(loaded, labelled, batch=batch, limit=limit, shown=progress)
    library = block_library(loaded.model, samples, rules=rules, linear=linear, scoring=scoring, **common)
    if limited and target is not None:
        times = choice_seconds(library, loaded.model, target, threads, progress)
        library = library.with_seconds(times.choices, times.whole)
    whole = library.original
    original = FrontierPoint("", whole.params, whole.macs, 0, 0, measured.top1)
    points, notes = [], []
    with progress_bar("frontier", len(asked), shown=progress) as bar:
        for budget in asked:
            bar.label(str(budget))
            try:
                plan = library.plan_for(budget)
            except PlanError as error:
                notes.append(str(error))
            else:
                made = convert(loaded.model, plan=plan, init="project", calibration=samples, **common)
                point = LoadedModel(made.model, loaded.title, loaded.device, loaded.preprocessing)
                top1 = evaluate_loaded(point, labelled, batch=batch, limit=limit, shown=False).top1
                counts = count_plan(made.plan)
                sizes = (counts.params, counts.macs, len(plan.replaced), len(plan.narrowings))
                points.append(FrontierPoint(str(budget), *sizes, top1))
            bar.advance()
    if not points:
        raise PlanError(notes[0])
    return Frontier(
        loaded.title,
        _named(labelled),
        measured.images,
        _named(pictures),
        samples.samples,
        scoring,
        seed,
        original,
        tuple(points),
        tuple(notes),
    )


def _calibrated_on(labelled: LabelledPictures, calibration: Data | None) -> PictureSet:
    """The pictures that calibrate: never those that the accuracy is measured on."""
    if calibration is not None:
        return picture_set(calibration)
    if TRAIN in labelled.splits and labelled.split != TRAIN:
        return labelled.with_split(TRAIN)
    how = wording("pass calibration=", "add --calibrate PATH")
    raise DataError(
        f"blocks are chosen and fitted by other pictures than those that the accuracy is measured on, and "
        f"{labelled.source} has no other split {TRAIN}: {how}"
    )


def _named(pictures: PictureSet) -> str:
    return f"{pictures.source}, split {pictures.split}" if pictures.split else pictures.source
