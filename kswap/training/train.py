"""``kswap.train``: a converted model, or one that is left as it is, learns from labelled pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from kswap.analysis.loaded_model import load_model
from kswap.analysis.preparation import trained_with, write_preparation
from kswap.codec import encode
from kswap.converted import Conversion
from kswap.data.opening import Data
from kswap.data.preprocessing import Preprocessing
from kswap.errors import TrainingError, excerpt, nearest
from kswap.files import replace_file
from kswap.graph.clone import full_clone
from kswap.loading import load
from kswap.report.calls import current_call, recorded, without_home
from kswap.report.provenance import WeightsStep
from kswap.saved.directory import check_writable
from kswap.saved.files import BEST_WEIGHTS, CURVE, LAST_WEIGHTS, TRAINING
from kswap.saved.manifest import read_manifest
from kswap.saved.reading import read_report
from kswap.saved.weights import load_weights_
from kswap.training.curve import curve_of
from kswap.training.processes import Processes, joined_processes
from kswap.training.recipe import TrainingRecipe, load_training_recipe
from kswap.training.record import Training, TrainingRecord, finished
from kswap.training.run import HALVES, TrainingRun
from kswap.training.splits import splits_of, title_of
from kswap.training.state import State
from kswap.training.work import WorkDirectory

# The end of the name of the directory that a run works in, beside its result.
WORK_SUFFIX = ".training"
_RESULT = "result"


@recorded("kswap.train")
@torch.inference_mode(False)
def train(
    model: Conversion | str | Path,
    data: Data,
    *,
    recipe: str | Path | Mapping[str, Any] | TrainingRecipe = "quick",
    epochs: float | None = None,
    batch: int | None = None,
    lr: float | None = None,
    out: str | Path | None = None,
    force: bool = False,
    resume: bool = True,
    keep: str | None = None,
    split: str | None = None,
    eval_data: Data | None = None,
    eval_split: str | None = None,
    test_data: Data | None = None,
    test_split: str | None = None,
    data_dir: str | Path | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    amp: str = "off",
    channels_last: bool | None = None,
    workers: int = 0,
    preprocessing: Preprocessing | None = None,
    trust_source: bool = False,
    progress: bool = True,
    checkpoint_seconds: float = 20.0,
) -> Training:
    """Train a model on labelled pictures: :class:`timm.task.ClassificationTask` with timm's optimizers and schedules.

    The argument is unchanged, and so is torch's random state. On a CPU, two runs with the same arguments and the same
    number of threads give the same weights to the last bit, interrupted or not. With ``out``, a run that was stopped
    in whatever way continues when it is called again; one that is done is not done again.

    Started by ``torchrun`` on several processes, each of them trains on its part of every batch, and the first one
    writes; the batch of the recipe is that of all of them together. Batch norms share their statistics on GPUs only.

    Args:
        model: What :func:`kswap.convert` returned, or the directory it was saved in. A network that is not to be
            converted comes from :func:`kswap.training.baseline.unconverted`.
        data: A folder or zip of ``SPLIT/CLASS/FILE`` or ``CLASS/FILE``, a name such as ``"torchvision:CIFAR10"``, or
            several of these, which together hold the splits; see :func:`kswap.data.opening.image_set`. A set that is
            open already is trained on as it is, unless ``split`` asks for another one.
        recipe: The name of a recipe, a TOML file, a table or a :class:`kswap.training.recipe.TrainingRecipe`.
        epochs: Passes over the training pictures, instead of the recipe's.
        batch: Images per step, instead of the recipe's.
        lr: The learning rate, instead of the recipe's.
        out: Where the result is saved, for :func:`kswap.load`. While the run is not done, ``OUT.training`` beside it
            holds the checkpoint.
        force: Whether an existing result may be replaced.
        resume: Whether to continue a run that was stopped; ``False`` starts it anew.
        keep: ``"best"``: the model has the weights that were the best on the validation pictures; ``"last"``: those of
            the end; instead of the recipe's. ``out`` holds both.
        split: The split to train on; without it ``train``, where there are several.
        eval_data: Labelled pictures for validation on the way. Without it the split ``val`` (``valid``,
            ``validation``) of the data; without such a split, the test pictures where the last weights are kept, and
            otherwise the share ``held_out`` of the training pictures, as the recipe says.
        eval_split: Which split of these.
        test_data: Labelled pictures for the measurement at the end, with and without the mirrored pictures. Without it
            the split ``test``; without such a split, the pictures for validation.
        test_split: Which split of these.
        data_dir: Where data that is downloaded by name is kept.
        seed: Makes the order of the pictures and all that is random reproducible.
        device: Where to train; without it a directory goes to the GPU if there is one, and a conversion stays.
        amp: Mixed precision: ``"bf16"``, ``"fp16"`` or ``"off"``.
        channels_last: The memory format; without it channels_last on a CPU, and on a GPU with mixed precision.
        workers: Processes that read pictures ahead, where they do not fit into memory or are augmented one by one.
        preprocessing: How pictures are prepared, instead of as the recipe says.
        trust_source: Whether to run the user's own code that a saved model was built by.
        progress: Whether to show a bar, where there is a terminal.
        checkpoint_seconds: How often the state of the run is written.

    Raises:
        KswapError: A subclass; something cannot be read, does not fit or cannot be written.

    >>> import kswap, tempfile
    >>> from PIL import Image
    >>> conversion = kswap.convert("test_resnet", ch=8, num_classes=2, seed=0, device="cpu", input_size=(32, 32))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("dark", "light"):
    ...         (Path(folder) / name).mkdir()
    ...         for number in range(4):
    ...             picture = Image.new("L", (32, 32), 200 * (name == "light") + number)
    ...             picture.save(Path(folder) / name / f"{number}.png")
    ...     done = kswap.train(conversion, folder, epochs=8, batch=4, eval_data=folder)
    >>> done.record.images, [measured.images for measured in done.record.measured][-1]
    (64, 64)
    """
    if keep not in (None, "last", "best"):
        raise TrainingError(f"keep must be 'last' or 'best', not '{excerpt(keep)}'")
    if amp not in HALVES:
        raise TrainingError(f"amp must be one of {', '.join(HALVES)}, not '{excerpt(amp)}'{nearest(str(amp), HALVES)}")
    made = load_training_recipe(recipe, epochs=epochs, batch=batch, lr=lr, keep=keep)
    splits = splits_of(
        data,
        made,
        split=split,
        eval_data=eval_data,
        eval_split=eval_split,
        test_data=test_data,
        test_split=test_split,
        data_dir=data_dir,
    )
    with joined_processes() as processes:
        start = _conversion_of(model, device, trust_source)
        copied = replace(start, model=full_clone(start.model))
        before = None if isinstance(model, Conversion) else trained_with(Path(model))
        loaded = load_model(copied, _own_device(device, processes), preprocessing or before)
        if preprocessing is None:
            loaded = loaded.prepared_by(_preprocessing_of(loaded.preprocessing, made))
        copied = replace(copied, model=loaded.model)
        on_cpu = loaded.device.type == "cpu"
        run = TrainingRun(
            copied,
            loaded,
            splits,
            made,
            seed,
            amp,
            channels_last if channels_last is not None else on_cpu or amp != "off",
            workers,
            processes,
            shown=progress and processes.first,
        )
        if out is None:
            record = _result_(run, run.train(None, checkpoint_seconds))
            return Training(_trained(run, record), record)
        target = Path(out).expanduser().absolute()
        work = WorkDirectory(target.with_name(target.name + WORK_SUFFIX), run.settings)
        found = processes.from_first(finished(target, run.settings) if resume and not force else None)
        if found is not None:
            if processes.first:
                work.remove()
            return Training(_saved(run, target), found, target)
        if not processes.first:
            record = _result_(run, run.train(None, checkpoint_seconds))
        else:
            check_writable(target, force)
            with work.opened(resume):
                state = run.train(work, checkpoint_seconds)
                own = run.conversion.model.state_dict()
                last = {name: tensor.detach().cpu().clone() for name, tensor in own.items()}
                record = _result_(run, state)
                work.move(_save(run, record, state, last, work.path / _RESULT), target, force)
        processes.wait()
        return Training(_trained(run, record), record, target)


def _conversion_of(model: Conversion | str | Path, device: str | torch.device | None, trust_source: bool) -> Conversion:
    if isinstance(model, Conversion):
        return model
    if not isinstance(model, str | Path):
        raise TrainingError(
            f"a {type(model).__name__} cannot be trained: pass what kswap.convert returned, or for a network that is "
            "left as it is, what kswap.training.baseline.unconverted returns"
        )
    if not Path(model).exists() and isinstance(model, str):
        raise TrainingError(
            f"there is no directory {excerpt(model, 200)}: kswap.train takes what kswap.convert returned, or the "
            "directory it was saved in"
        )
    return load(model, device=device if device is not None else "auto", trust_source=trust_source)


def _own_device(device: str | torch.device | None, processes: Processes) -> str | torch.device | None:
    """The GPU of this process, where several train together on GPUs."""
    if processes.count > 1 and torch.cuda.is_available() and str(device) in ("auto", "cuda", "None"):
        return torch.device("cuda", processes.local)
    return device


def _preprocessing_of(own: Preprocessing, recipe: TrainingRecipe) -> Preprocessing:
    """What the model states, changed as the recipe says."""
    made = {"model": lambda: own, "papers": own.papers, "imagenet": own.imagenet}[recipe.preprocessing]()
    changes: dict[str, Any] = {}
    if recipe.resize:
        changes["resize"] = recipe.resize
    if recipe.crop:
        changes["crop"] = recipe.crop
    return replace(made, **changes, origin=f"{made.origin}, as the recipe says") if changes else made


def _result_(run: TrainingRun, state: State) -> TrainingRecord:
    """Give the model the weights to keep, in place and in eval mode, and measure them."""
    kept = run.recipe.keep if state.best is not None else "last"
    if kept == "best" and state.best is not None:
        run.load_(state.best)
    model = run.conversion.model
    model.to(memory_format=torch.contiguous_format).eval()
    return run.record(state, kept, run.tested())


def _trained(run: TrainingRun, record: TrainingRecord) -> Conversion:
    """The conversion, whose report says that its weights were trained."""
    step = WeightsStep("trained", run.seed, record.images, without_home(title_of(run.splits.train)))
    return replace(run.conversion, report=run.conversion.report.after(current_call(), step))


def _saved(run: TrainingRun, directory: Path) -> Conversion:
    """The conversion with the weights of a run that was done before, in eval mode."""
    load_weights_(run.conversion.model, directory, read_manifest(directory).weights_sha256)
    run.conversion.model.eval()
    return replace(run.conversion, report=read_report(directory))


def _save(run: TrainingRun, record: TrainingRecord, state: State, last: dict[str, Tensor], fresh: Path) -> Path:
    """Write the result, with all that belongs to it."""
    _trained(run, record).save(fresh, force=True)
    replace_file(fresh / TRAINING, json.dumps(encode(record), indent=1).encode() + b"\n")
    write_preparation(fresh, run.conversion, run.loaded.preprocessing)
    if state.best is not None:
        best = {name.removeprefix("model."): tensor.contiguous() for name, tensor in state.best.items()}
        replace_file(fresh / BEST_WEIGHTS, save(best))
    replace_file(fresh / LAST_WEIGHTS, save({name: tensor.contiguous() for name, tensor in last.items()}))
    curve = curve_of(record)
    if curve is not None:
        replace_file(fresh / CURVE, curve)
    return fresh
