"""The model that is evaluated or looked at, however it was named, and how its outputs are read."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kswap.converted import Conversion
from kswap.data.preprocessing import Preprocessing
from kswap.errors import ModelError
from kswap.sources.builders import build
from kswap.sources.check import check_model
from kswap.sources.device import choose_device
from kswap.sources.source import Source, parse_source

# Sources whose weights are published; a user's own factory loads its weights itself.
_PUBLISHED = ("timm", "torchvision")


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
) -> LoadedModel:
    """The model that ``model`` names, ready to run.

    Args:
        model: A directory that kswap saved, a conversion, a module, or a name as for :func:`kswap.convert`, which is
            built with its published weights.
        device: Where it runs. Without it a directory or a name goes to the GPU if there is one, and a module stays
            where it is. A module that is elsewhere is copied, not moved.
        preprocessing: How its pictures are prepared. Without it as the model states, at the input size that a
            conversion was planned for.
        trust_source: Whether to run the user's own code that a saved model was built by.

    Raises:
        KswapError: A subclass; the model cannot be found, built or loaded.
    """
    size: tuple[int, ...] | None = None
    if isinstance(model, str | Path):
        target = choose_device(device if device is not None else "auto")
        title = str(model)
        if Path(model).is_dir():
            from kswap.loading import load

            loaded = load(model, device=target, trust_source=trust_source)
            module, size = loaded.model, loaded.plan.input_size
        else:
            source, module = _published(parse_source(title))
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


def baseline_of(directory: str | Path, device: str | torch.device | None = None) -> LoadedModel:
    """The original of a saved directory with its published weights.

    Raises:
        ModelError: None are published for that number of classes.
    """
    from kswap.loading import original_of
    from kswap.saved.directory import read_report

    target = choose_device(device if device is not None else "auto")
    source, bare = original_of(directory, meta=True)
    mend = "pass a trained baseline as a second MODEL instead of --baseline"
    config = getattr(bare, "pretrained_cfg", None)
    published = config.get("num_classes") if isinstance(config, Mapping) else 1000
    asked = source.kwargs.get("num_classes", published)
    if asked != published:
        raise ModelError(
            f"{source.title} has published weights for {published} classes, {directory} has {asked}: {mend}"
        )
    try:
        _, module = _published(source)
    except ModelError as error:
        raise ModelError(f"{error}; or {mend}") from error
    made = Preprocessing.of(module, read_report(directory).input_size)
    return LoadedModel(module.to(target), f"{source.title} (baseline)", target, made)


def _published(source: Source) -> tuple[Source, nn.Module]:
    if source.kind == "papers":
        raise ModelError(f"{source.title} has no published weights here: pass a directory that kswap saved")
    module = build(source, pretrained=source.kind in _PUBLISHED)
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
