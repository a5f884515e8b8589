"""The model that is evaluated or looked at, however it was named, and how its outputs are read."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kswap.analysis.preparation import trained_with
from kswap.converted import Conversion
from kswap.data.preprocessing import Preprocessing
from kswap.errors import ModelError, excerpt, wording
from kswap.sources.builders import build
from kswap.sources.check import check_model
from kswap.sources.device import choose_device
from kswap.sources.source import Source, parse_source
from kswap.sources.trained import build_trained

# Sources whose weights are published; a user's own factory loads its weights itself.
PUBLISHED = ("timm", "torchvision")


@dataclass(frozen=True)
class LoadedModel:
    """A model on its device, what to call it, and how its pictures are prepared."""

    model: nn.Module
    title: str
    device: torch.device
    preprocessing: Preprocessing

    def prepared_by(self, preprocessing: Preprocessing) -> LoadedModel:
        """The same model with other preprocessing."""
        return replace(self, preprocessing=preprocessing)

    def inputs(self, pictures: Tensor) -> Tensor:
        """``pictures`` on the device and in the dtype of the model's weights."""
        dtype = next((p.dtype for p in self.model.parameters() if p.is_floating_point()), torch.float32)
        return pictures.to(self.device, dtype, non_blocking=True)


def load_model(
    model: nn.Module | Conversion | str | Path,
    device: str | torch.device | None = None,
    preprocessing: Preprocessing | None = None,
    trust_source: bool = False,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
) -> LoadedModel:
    """The model that ``model`` names, ready to run.

    Args:
        model: A directory that kswap saved, a conversion, a module, or a name as for :func:`kswap.convert`, which is
            built with its published weights.
        device: Where it runs. Without it a directory or a name goes to the GPU if there is one, and a module stays
            where it is. A module that is elsewhere is copied, not moved.
        preprocessing: How its pictures are prepared. Without it as when a directory was trained, or as the model
            states, at the input size that a conversion was planned for.
        trust_source: Whether to run the user's own code that a saved model was built by.
        weights: A file of trained weights for a name, instead of its published ones.
        num_classes: Classes that ``weights`` were trained for, where they are not the model's own.
        model_kwargs: Other arguments of the builder of a name, such as ``{"act_layer": "relu"}``.

    Raises:
        KswapError: A subclass; the model cannot be found, built or loaded.
    """
    is_name = isinstance(model, str) and not Path(model).is_dir()
    if weights is not None and not is_name:
        own = wording("weights", "--weights")
        raise ModelError(f"{own} can only be given with a model's name: a directory or a module has weights of its own")
    if num_classes is not None and weights is None:
        raise ModelError(
            f"{wording('num_classes', '--num-classes')} says what {wording('weights', '--weights')} were trained for: "
            "give both, or neither"
        )
    if model_kwargs and not is_name:
        own = wording(f"{next(iter(model_kwargs))}=...", "--model-kwarg")
        raise ModelError(f"{own} is for a model's builder, and only a name has one: leave it out")
    size: tuple[int, ...] | None = None
    if isinstance(model, str | Path):
        target = choose_device(device if device is not None else "auto")
        title = str(model)
        if Path(model).is_dir():
            from kswap.loading import load

            loaded = load(model, device=target, trust_source=trust_source)
            module, size = loaded.model, loaded.plan.input_size
            preprocessing = preprocessing or trained_with(Path(model))
        else:
            kwargs = dict(model_kwargs or {}) | ({} if num_classes is None else {"num_classes": num_classes})
            source, module = _trained(parse_source(title, kwargs), weights)
            title = source.title
    elif isinstance(model, Conversion):
        module, title, size = model.model, model.plan.model, model.plan.input_size
        target = choose_device(device, module)
    else:
        check_model(model)
        module, title = model, type(model).__name__
        target = choose_device(device, module)
    made = preprocessing or Preprocessing.of(module, size)
    return LoadedModel(_moved(module, target), title, target, made)


def baseline_of(
    directory: str | Path, device: str | torch.device | None = None, weights: str | Path | None = None
) -> LoadedModel:
    """The original of a saved directory with its published weights, or with those of a file.

    Raises:
        ModelError: None are published for that number of classes, the directory was converted with weights of a file
            that is not given, or the file does not fit.
    """
    from kswap.loading import original_of

    target = choose_device(device if device is not None else "auto")
    source, bare = original_of(directory, meta=True)
    if weights is not None:
        _, module = _trained(source, weights)
        return _baseline(source, module, directory, target)
    mend = "pass a trained baseline as a second MODEL instead of --baseline"
    if source.weights_file:
        file = excerpt(source.weights_file)
        raise ModelError(
            f"{directory} was converted with weights from the file {file}: pass --weights {file}, or {mend}"
        )
    config = getattr(bare, "pretrained_cfg", None)
    published = config.get("num_classes") if isinstance(config, Mapping) else 1000
    asked = source.kwargs.get("num_classes", published)
    if asked != published:
        raise ModelError(
            f"{source.title} has published weights for {published} classes, {directory} has {asked}: {mend}"
        )
    try:
        _, module = _trained(source)
    except ModelError as error:
        raise ModelError(f"{error}; or {mend}") from error
    return _baseline(source, module, directory, target)


def _baseline(source: Source, module: nn.Module, directory: str | Path, target: torch.device) -> LoadedModel:
    from kswap.saved.reading import read_report

    made = Preprocessing.of(module, read_report(directory).input_size)
    return LoadedModel(module.to(target), f"{source.title} (baseline)", target, made)


def _trained(source: Source, weights: str | Path | None = None) -> tuple[Source, nn.Module]:
    if weights is not None:
        return build_trained(source, weights=weights)
    if source.kind == "papers":
        raise ModelError(f"{source.title} has no published weights here: pass a directory that kswap saved")
    module = build(source, pretrained=source.kind in PUBLISHED)
    return source, module


def _moved(module: nn.Module, device: torch.device) -> nn.Module:
    """The module itself if it is on ``device`` already, else a copy there: the caller's module is not moved."""
    places = {parameter.device for parameter in module.parameters()}
    return module if places <= {device} else copy.deepcopy(module).to(device)


def logits_of(output: Any) -> Tensor:
    """The logits ``(N, classes)`` in a model's output: a tensor, the first of several, or the entry ``logits``.

    Raises:
        ModelError: It is not the output of a classifier.
    """
    found = output
    if isinstance(found, Mapping):
        found = found.get("logits", found.get("out"))
    elif isinstance(found, list | tuple) and found:
        found = found[0]
    if isinstance(found, Tensor) and found.ndim == 4 and found.shape[2:] == (1, 1):
        found = found.flatten(1)
    if not isinstance(found, Tensor) or found.ndim != 2 or not found.is_floating_point():
        shape = f"a tensor of shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(output).__name__}"
        raise ModelError(f"this model is not a classifier: it returns {shape}, not one number per class")
    return found


def probabilities(logits: Tensor) -> Tensor:
    """Softmax over the classes, in float32; what is a distribution already is unchanged.

    >>> probabilities(torch.tensor([[0.0, 0.0]])).tolist(), probabilities(torch.tensor([[0.25, 0.75]])).tolist()
    ([[0.5, 0.5]], [[0.25, 0.75]])
    """
    values = logits.float()
    sums = values.sum(1)
    if bool((values >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        return values
    return values.softmax(1)
