"""What optimising did, as a value: the implementation of each block, and what is stored and multiplied now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from torch import nn

from kswap.codec import Between
from kswap.errors import DeployError
from kswap.nn.implementation import ImplementationId
from kswap.report.report import Change

# What no model comes near: sizes of a stranger's file are bounded before torch sees them.
Count = Annotated[int, Between(0, 10**15)]
Size = Annotated[int, Between(1, 1_000_000)]

# Where an optimised model holds its record. Copies and pickles of the model keep it.
_ATTRIBUTE = "_kswap_optimization"


@dataclass(frozen=True)
class OptimizedBlock:
    """One block: its implementation, its parameters as trained and as stored now, and what was measured.

    ``seconds`` has the time of each implementation that was tried, by the text of its identifier, on the block's own
    input; it is empty where the implementation was estimated or given.
    """

    name: str
    implementation: ImplementationId
    params_before: Count
    params_after: Count
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_dense(self) -> bool:
        """Whether the block runs as one dense layer, which is as fast as the layer that it replaced."""
        return self.implementation.is_dense


@dataclass(frozen=True)
class Optimization:
    """The record of one :func:`kswap.optimize_for_inference`.

    ``params_*`` are of the whole model, ``macs_*`` of one pass over an input of ``input_shape``; both may be
    larger than what was trained, where a dense layer is quicker than the block. ``error`` is the largest
    difference of an output, relative to the largest output. ``norms_kept`` has the reason for each norm that could
    not be folded, by name. ``seconds`` are those of the whole model with each selection that was tried.
    """

    target: str
    threads: Size | None
    autotuned: bool
    input_shape: tuple[Size, ...]
    params_before: Count
    params_after: Count
    macs_before: Count
    macs_after: Count
    norms_folded: Count
    error: float
    layers: tuple[OptimizedBlock, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    norms_kept: Mapping[str, str] = field(default_factory=dict)

    @property
    def implementations(self) -> dict[str, ImplementationId]:
        """The implementation of each block by name, as ``optimize_for_inference(implementations=...)`` takes them."""
        return {layer.name: layer.implementation for layer in self.layers}

    @property
    def microseconds(self) -> dict[str, Change]:
        """Of each block that was measured by itself: as one dense layer, and as it runs now."""
        found = {}
        for layer in self.layers:
            first = next(iter(layer.seconds.values()), None)  # the dense layer is tried first
            chosen = layer.seconds.get(str(layer.implementation))
            if first is not None and chosen is not None:
                found[layer.name] = Change(round(1e6 * first), round(1e6 * chosen))
        return found

    @property
    def measured_in(self) -> str:
        """Where times were measured: ``"onnxruntime, 1x3x224x224, 1 thread"``."""
        threads = "" if self.threads is None else f", {self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.target}, {'x'.join(map(str, self.input_shape))}{threads}"

    @property
    def dense(self) -> int:
        """How many blocks run as one dense layer."""
        return sum(layer.is_dense for layer in self.layers)


def optimization_of(model: nn.Module) -> Optimization:
    """The record of a model that :func:`kswap.optimize_for_inference` returned, or of a copy of it.

    Raises :class:`kswap.errors.DeployError` for any other model.

    >>> optimization_of(nn.Linear(2, 2))
    Traceback (most recent call last):
    kswap.errors.DeployError: this Linear was not optimised by kswap: call kswap.optimize_for_inference first
    """
    found = vars(model).get(_ATTRIBUTE)
    if not isinstance(found, Optimization):
        name = type(model).__name__
        raise DeployError(f"this {name} was not optimised by kswap: call kswap.optimize_for_inference first")
    return found


def record_(model: nn.Module, optimization: Optimization) -> None:
    """Attach the record to the model, in place.

    It can be read as ``model.optimization`` too, unless the model has an attribute of that name.
    """
    taken = hasattr(model, "optimization") and not isinstance(model.optimization, Optimization)
    for name in (_ATTRIBUTE, *(() if taken else ("optimization",))):
        setattr(model, name, optimization)
