"""``kswap.distill``: a converted model learns end to end from the original that it was converted from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from kswap.analysis.loaded_model import PUBLISHED
from kswap.analysis.preparation import trained_with, write_preparation
from kswap.codec import encode
from kswap.converted import Conversion
from kswap.data.opening import Data, picture_set
from kswap.data.preprocessing import Preprocessing
from kswap.errors import TrainingError, excerpt, wording
from kswap.files import replace_file
from kswap.loading import load, original_model
from kswap.report.calls import current_call, recorded, without_home
from kswap.report.projection import Accuracy
from kswap.report.provenance import WeightsStep
from kswap.saved.directory import check_writable
from kswap.saved.files import BEST_WEIGHTS, DISTILLATION
from kswap.saved.manifest import read_manifest
from kswap.saved.reading import read_report
from kswap.saved.weights import load_weights_
from kswap.sources.trained import build_trained
from kswap.training.state import State
from kswap.training.work import WorkDirectory
from kswap.transfer.recipe import Recipe, load_recipe
from kswap.transfer.record import Distillation, DistillationRecord, finished
from kswap.transfer.run import Run
from kswap.transfer.teacher import Classifier

# The end of the name of the directory that a run works in, beside its result.
WORK_SUFFIX = ".distilling"
_RESULT = "result"


@recorded("kswap.distill")
@torch.inference_mode(False)
def distill(
    conversion: Conversion | str | Path,
    teacher: nn.Module | Conversion | str | Path | None,
    data: Data,
    *,
    teacher_weights: str | Path | None = None,
    images: int | None = None,
    epochs: float | None = None,
    recipe: str | Path | Mapping[str, Any] | Recipe = "distill",
    lr: float | None = None,
    out: str | Path | None = None,
    force: bool = False,
    resume: bool = True,
    keep: str = "last",
    split: str | None = None,
    eval_data: Data | None = None,
    eval_split: str | None = None,
    eval_limit: int = 1000,
    seed: int = 0,
    device: str | torch.device | None = None,
    preprocessing: Preprocessing | None = None,
    trust_source: bool = False,
    progress: bool = True,
    checkpoint_seconds: float = 20.0,
) -> Distillation:
    """Train a converted model to answer as its teacher does (Hinton, Vinyals and Dean 2015). No labels are needed.

    The task is one of :mod:`timm.task`, the optimizer and the schedule are timm's. ``conversion`` and ``teacher`` are
    unchanged, and so is torch's random state. Two runs with the same arguments on the same machine give the same
    weights, interrupted or not. With ``out``, a run that was stopped continues when it is called again.

    Args:
        conversion: What to train, or the directory it was saved in.
        teacher: A module, a conversion, a directory that kswap saved, or a name, which is built with its published
            weights, or with those in ``teacher_weights``. ``None`` is the original of ``conversion``.
        teacher_weights: A file of trained weights for a teacher that is built: safetensors, or a state dict of
            ``torch.save``. No code in it runs.
        data: A folder or zip of pictures in any arrangement.
        images: Images to see, each as often as it is seen, rounded up to whole batches; otherwise as in the recipe.
        epochs: The same as a number of passes over all pictures.
        recipe: The name of a recipe, a TOML file, a table or a :class:`kswap.transfer.recipe.Recipe`.
        lr: The learning rate, instead of the recipe's.
        out: Where the result is saved, for :func:`kswap.load`. While the run is not done, ``OUT.distilling`` beside it
            holds the checkpoint and the teacher's answers.
        force: Whether an existing result may be replaced.
        resume: Whether to continue a run that was stopped; ``False`` starts it anew.
        keep: ``"last"``: the model has the weights of the end; ``"best"``: those that were the most accurate.
        split: The folder of ``data`` to train on; without it ``train``, where there is one, or else all pictures.
        eval_data: Labelled pictures to measure accuracy on. Without it the split of ``data`` that is not for
            training; without such a split the training pictures themselves, if they lie in class folders.
        eval_split: Which split of these.
        eval_limit: At most so many of them, evenly over all.
        seed: Makes the order of the pictures and all that is random reproducible.
        device: Where to train; without it a directory goes to the GPU if there is one, and a module stays.
        preprocessing: How pictures are prepared for both models, instead of as each of them states or was trained. The
            size and the cut are always those of the converted model.
        trust_source: Whether to run the user's own code that a saved model was built by.
        progress: Whether to show a bar, where there is a terminal.
        checkpoint_seconds: How often the state of the run is written.

    Raises:
        KswapError: A subclass; something cannot be read, does not fit or cannot be written.

    >>> import kswap, tempfile
    >>> from PIL import Image
    >>> conversion = kswap.convert("test_resnet", ch=8, num_classes=3, seed=0, device="cpu", input_size=(32, 32))
    >>> teacher = kswap.loading.original_model("test_resnet", {"num_classes": 3})[1]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for number in range(4):
    ...         Image.effect_noise((32, 32), 50).save(Path(folder) / f"{number}.png")
    ...     done = kswap.distill(conversion, teacher, folder, recipe={"batch": 4}, images=8)
    >>> done.images, len(done.losses)
    (8, 2)
    """
    if images is not None and epochs is not None:
        raise TrainingError("pass images or epochs, not both: each says how long to train")
    if keep not in ("last", "best"):
        raise TrainingError(f"keep must be 'last' or 'best', not '{excerpt(keep)}'")
    made = load_recipe(recipe, lr=lr)
    pictures = picture_set(data, split)
    steps = _steps(made, images, epochs, len(pictures))
    start = _conversion_of(conversion, device, trust_source)
    if preprocessing is None and not isinstance(conversion, Conversion):
        preprocessing = trained_with(Path(conversion))
    run = Run.of(
        start,
        _teacher_of(teacher, teacher_weights, start),
        pictures,
        made,
        steps,
        seed,
        eval_data=eval_data,
        eval_split=eval_split,
        eval_limit=eval_limit,
        device=device,
        preprocessing=preprocessing,
        trust_source=trust_source,
    )
    if out is None:
        state = run.train(None, checkpoint_seconds, progress)
        record = run.record(state, keep)
        return Distillation(_result(run, state, record), record)
    target = Path(out).expanduser().absolute()
    work = WorkDirectory(target.with_name(target.name + WORK_SUFFIX), run.settings)
    if resume and not force and (found := finished(target, run.settings, keep)) is not None:
        work.remove()
        return Distillation(_saved(run, target), found, target)
    check_writable(target, force)
    with work.opened(resume):
        state = run.train(work, checkpoint_seconds, progress)
        record = run.record(state, keep)
        result = _result(run, state, record)
        fresh = _save(result, record, state, work.path / _RESULT)
        write_preparation(fresh, result, run.student.preprocessing)
        work.move(fresh, target, force)
    return Distillation(result, record, target)


def _steps(recipe: Recipe, images: int | None, epochs: float | None, count: int) -> int:
    asked = images if images is not None else recipe.images
    if epochs is not None:
        if not 0 < epochs <= 1e6:
            raise TrainingError(f"epochs must be above 0, not {epochs}")
        asked = math.ceil(epochs * count)
    if asked < 1:
        raise TrainingError(f"images must be at least 1, not {asked}")
    return math.ceil(asked / recipe.batch)


def _conversion_of(
    conversion: Conversion | str | Path, device: str | torch.device | None, trust_source: bool
) -> Conversion:
    if isinstance(conversion, Conversion):
        return conversion
    if not isinstance(conversion, str | Path):
        raise TrainingError(f"a {type(conversion).__name__} cannot be distilled: pass what kswap.convert returned")
    return load(conversion, device=device if device is not None else "auto", trust_source=trust_source)


def _teacher_of(
    teacher: nn.Module | Conversion | str | Path | None, weights: str | Path | None, conversion: Conversion
) -> nn.Module | Conversion | str | Path:
    """The teacher; a name that is that of the conversion's original is built as that was, with its classes."""
    source = conversion.source
    if teacher is not None and weights is None and (str(teacher) != source.title or source.kind == "module"):
        return teacher
    config = getattr(conversion.model, "pretrained_cfg", None)
    published = config.get("num_classes") if isinstance(config, Mapping) else None
    if weights is None and (source.kind not in PUBLISHED or source.kwargs.get("num_classes", published) != published):
        raise TrainingError(
            f"{excerpt(source.title)} has no published weights for these classes: pass the trained original as the "
            f"teacher, or a file of its weights ({wording('teacher_weights=', '--teacher-weights')})"
        )
    if isinstance(teacher, nn.Module | Conversion):
        raise TrainingError("teacher_weights can only be given with a teacher's name, not with a module")
    if teacher is not None and str(teacher) != source.title:
        return original_model(str(teacher), {}, weights=weights)[1]
    return build_trained(source, pretrained=weights is None, weights=weights)[1]


def _result(run: Run, state: State, record: DistillationRecord) -> Conversion:
    """The conversion with the weights to keep, in eval mode, and the accuracies in its report."""
    model = run.student.model
    if record.kept == "best" and state.best is not None:
        Classifier(model, run.student.preprocessing).load_state_dict(state.best)
    model.to(memory_format=torch.contiguous_format).eval()
    report = run.conversion.report
    if report.projection is not None:
        measured = replace(report.projection, accuracies=_accuracies(report.projection.accuracies, record))
        report = report.with_projection(measured)
    taught = {"data": without_home(run.images.source), "teacher": without_home(run.teacher.title)}
    report = report.after(current_call(), WeightsStep("distilled", run.seed, record.images, **taught))
    return replace(run.conversion, model=model, report=report)


def _accuracies(before: tuple[Accuracy, ...], record: DistillationRecord) -> tuple[Accuracy, ...]:
    """What was measured before, and now; each stage once."""
    data = record.examined or ""
    found = {
        stage: Accuracy(stage, top1, record.examined_images, data)
        for stage, top1 in record.stages("projected").items()
        if top1 is not None
    }
    known = {accuracy.stage: accuracy for accuracy in before}
    return tuple((known | found).values())


def _saved(run: Run, directory: Path) -> Conversion:
    """The conversion with the weights of a run that was done before, in eval mode."""
    model = run.student.model
    load_weights_(model, directory, read_manifest(directory).weights_sha256)
    model.eval()
    return replace(run.conversion, model=model, report=read_report(directory))


def _save(result: Conversion, record: DistillationRecord, state: State, fresh: Path) -> Path:
    """Write the result, with all that belongs to it."""
    result.save(fresh, force=True)
    replace_file(fresh / DISTILLATION, json.dumps(encode(record), indent=1).encode() + b"\n")
    if state.best is not None:
        own = {name.removeprefix("model."): tensor.contiguous() for name, tensor in state.best.items()}
        replace_file(fresh / BEST_WEIGHTS, save(own))
    return fresh
