"""The original and the rewritten model that are compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from kswap.benchmarks.request import BenchmarkRequest
from kswap.conversion import convert
from kswap.errors import DeployError
from kswap.graph.clone import full_clone
from kswap.graph.edits import apply_edits_
from kswap.graph.random_state import preserved_random_state
from kswap.loading import load, original_model
from kswap.planner.plan import Plan
from kswap.report.report import Report
from kswap.sources.builders import build


@dataclass(frozen=True)
class BenchmarkedModel:
    """What is compared: a model by name, a saved directory, or a module; and how it is rewritten.

    ``ch``, ``scheme``, ``kind``, ``align``, ``num_classes`` and ``input_size`` are for models by name (and all but
    ``num_classes`` for modules); a directory is taken as it was saved.
    """

    model: str | nn.Module
    ch: int = 16
    scheme: str = "v2"
    num_classes: int | None = None
    input_size: tuple[int, ...] | None = None
    trust_source: bool = False
    kind: str = "grouped"
    align: int | None = None

    @property
    def is_saved(self) -> bool:
        return isinstance(self.model, str) and Path(self.model).is_dir()

    @classmethod
    def all_of(cls, request: BenchmarkRequest) -> tuple[BenchmarkedModel, ...]:
        """One for each model and ``ch``; a saved directory has its own ``ch`` and is taken once."""
        found = []
        for model in request.models:
            for ch in request.ch:
                one = cls(
                    model,
                    ch,
                    request.scheme,
                    request.num_classes,
                    request.input_size,
                    request.trust_source,
                    request.kind,
                    request.align,
                )
                found.append(one)
                if one.is_saved:
                    break
        return tuple(found)


@dataclass(frozen=True)
class ModelPair:
    """Both models, in eval mode on the CPU, with the same edits (strides, activations) and the same type."""

    original: nn.Module
    converted: nn.Module
    report: Report
    align: int | None = None

    @classmethod
    def of(cls, benchmarked: BenchmarkedModel) -> ModelPair:
        """Build both sides. Raises :class:`kswap.errors.KswapError` subclasses as ``convert`` and ``load`` do."""
        made = _loaded(benchmarked) if benchmarked.is_saved else _converted(benchmarked)
        made.original.eval()
        made.converted.eval()
        return made

    def inputs(self, batch: int) -> tuple[Tensor, ...]:
        """Normal noise of ``batch`` samples, the same at each call, in the type of the weights."""
        drawn = torch.randn(batch, *self.report.input_size, generator=torch.Generator().manual_seed(0))
        return (drawn.to(_dtype_of(self.converted)),)


def _converted(benchmarked: BenchmarkedModel) -> ModelPair:
    kwargs = {} if benchmarked.num_classes is None else {"num_classes": benchmarked.num_classes}
    if isinstance(benchmarked.model, nn.Module):
        original = full_clone(benchmarked.model).cpu()
    else:
        with preserved_random_state(0):
            _, original = original_model(benchmarked.model, kwargs)
    conversion = convert(
        benchmarked.model if isinstance(benchmarked.model, str) else original,
        benchmarked.ch,
        benchmarked.scheme,
        device="cpu",
        seed=0,
        input_size=benchmarked.input_size,
        kind=benchmarked.kind,
        align=benchmarked.align,
        **kwargs,  # type: ignore[arg-type]
    )
    return ModelPair(original, conversion.model, conversion.report, _align_of(conversion.plan))


def _loaded(benchmarked: BenchmarkedModel) -> ModelPair:
    if benchmarked.num_classes is not None or benchmarked.input_size is not None:
        raise DeployError(f"{benchmarked.model} is measured as it was saved: leave out --num-classes and --input-size")
    directory = str(benchmarked.model)
    conversion = load(directory, device="cpu", trust_source=benchmarked.trust_source)
    trusted = conversion.source.needs_trust and benchmarked.trust_source
    original = build(conversion.source) if trusted else original_model(directory, {})[1]
    apply_edits_(original, conversion.plan.edits)
    original = original.to(_dtype_of(conversion.model))
    return ModelPair(original, conversion.model, conversion.report, _align_of(conversion.plan))


def _align_of(plan: Plan) -> int | None:
    """The multiple that channels and filters of groups were asked to be; the first one where rules set several."""
    return next((site.layer.align for site in plan.replaced if site.layer.align is not None), None)


def _dtype_of(model: nn.Module) -> torch.dtype:
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def weights_bytes(model: nn.Module) -> int:
    """Bytes of the parameters and buffers as safetensors hold them (tied ones once), without the short header."""
    held = {tensor.untyped_storage().data_ptr() or id(tensor): tensor for tensor in model.state_dict().values()}
    return sum(tensor.nbytes for tensor in held.values())
