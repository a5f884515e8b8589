"""The original and the rewritten model that are held against each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kswap.conversion import convert
from kswap.errors import DeployError
from kswap.graph.clone import full_clone
from kswap.graph.edits import apply_edits_
from kswap.loading import load, original_model
from kswap.report.report import Report
from kswap.sources.builders import build


@dataclass(frozen=True)
class Subject:
    """What is compared: a model by name, a saved directory, or a module; and how it is rewritten.

    ``ch``, ``scheme``, ``num_classes`` and ``input_size`` are for models by name (and ``ch``, ``scheme`` and
    ``input_size`` for modules); a directory is taken as it was saved.
    """

    model: str | nn.Module
    ch: int = 16
    scheme: str = "v2"
    num_classes: int | None = None
    input_size: tuple[int, ...] | None = None
    trust_source: bool = False

    @property
    def is_saved(self) -> bool:
        return isinstance(self.model, str) and Path(self.model).is_dir()

    def to_json(self) -> dict[str, Any]:
        """For a fresh process. Raises :class:`DeployError` for a module, which cannot be built again there."""
        if not isinstance(self.model, str):
            raise DeployError("a module cannot be built again in another process: give its name or a saved directory")
        return {**vars(self), "input_size": list(self.input_size) if self.input_size else None}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Subject:
        """Read what :meth:`to_json` wrote."""
        return cls(**{**data, "input_size": tuple(data["input_size"]) if data["input_size"] else None})


@dataclass(frozen=True)
class Pair:
    """Both models, in eval mode on the CPU, with the same edits (strides, activations) and the same type."""

    original: nn.Module
    converted: nn.Module
    report: Report

    @classmethod
    def of(cls, subject: Subject) -> Pair:
        """Build both sides. Raises :class:`kswap.errors.KswapError` subclasses as ``convert`` and ``load`` do."""
        made = _loaded(subject) if subject.is_saved else _converted(subject)
        made.original.eval()
        made.converted.eval()
        return made

    def inputs(self, batch: int) -> tuple[Tensor, ...]:
        """Normal noise of ``batch`` samples, the same at each call, in the type of the weights."""
        drawn = torch.randn(batch, *self.report.input_size, generator=torch.Generator().manual_seed(0))
        return (drawn.to(_dtype_of(self.converted)),)


def _converted(subject: Subject) -> Pair:
    kwargs = {} if subject.num_classes is None else {"num_classes": subject.num_classes}
    if isinstance(subject.model, nn.Module):
        original = full_clone(subject.model).cpu()
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            _, original = original_model(subject.model, kwargs)
    conversion = convert(
        subject.model if isinstance(subject.model, str) else original,
        subject.ch,
        subject.scheme,
        device="cpu",
        seed=0,
        input_size=subject.input_size,
        **kwargs,  # type: ignore[arg-type]
    )
    return Pair(original, conversion.model, conversion.report)


def _loaded(subject: Subject) -> Pair:
    if subject.num_classes is not None or subject.input_size is not None:
        raise DeployError(f"{subject.model} is measured as it was saved: leave out --num-classes and --input-size")
    directory = str(subject.model)
    conversion = load(directory, device="cpu", trust_source=subject.trust_source)
    trusted = conversion.source.needs_trust and subject.trust_source
    original = build(conversion.source) if trusted else original_model(directory, {})[1]
    apply_edits_(original, conversion.plan.edits)
    return Pair(original.to(_dtype_of(conversion.model)), conversion.model, conversion.report)


def _dtype_of(model: nn.Module) -> torch.dtype:
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def weights_bytes(model: nn.Module) -> int:
    """Bytes of the parameters and buffers as safetensors hold them (tied ones once), without the short header."""
    held = {tensor.untyped_storage().data_ptr() or id(tensor): tensor for tensor in model.state_dict().values()}
    return sum(tensor.nbytes for tensor in held.values())
