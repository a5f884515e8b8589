"""What optimising did, as a value: the implementation of each block, and what is stored and multiplied now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from kswap.errors import DeployError
from kswap.inference.format_1 import implementation_named
from kswap.nn.implementation import ImplementationId

# Where an optimised model holds its record. Copies and pickles of the model keep it.
_ATTRIBUTE = "_kswap_optimization"


@dataclass(frozen=True)
class OptimizedBlock:
    """One block: its implementation, its parameters as trained and as stored now, and what was measured.

    ``seconds`` has the time of each implementation that was tried, on the block's own input; it is empty where the
    implementation was estimated or given.
    """

    name: str
    implementation: ImplementationId
    params_before: int
    params_after: int
    seconds: Mapping[ImplementationId, float] = field(default_factory=dict)

    @property
    def is_dense(self) -> bool:
        """Whether the block runs as one dense layer, which is as fast as the layer that it replaced."""
        return self.implementation.is_dense

    def to_json(self) -> dict[str, Any]:
        """The block as JSON values; implementations are their texts."""
        seconds = {str(id_): value for id_, value in self.seconds.items()}
        return vars(self) | {"implementation": str(self.implementation), "seconds": seconds}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> OptimizedBlock:
        """Read what :meth:`to_json` wrote, in this or the first format."""
        first = "form" in data
        read: Callable[[object], ImplementationId] = implementation_named if first else ImplementationId.parse
        seconds = {read(key): float(value) for key, value in data["seconds"].items()}
        text = data["form" if first else "implementation"]
        return cls(data["name"], read(text), data["params_before"], data["params_after"], seconds)


@dataclass(frozen=True)
class Optimization:
    """The record of one :func:`kswap.optimize_for_inference`.

    ``params_*`` are of the whole model, ``macs_*`` of one pass over an input of ``input_shape``; both may be
    larger than what was trained, where a dense layer is quicker than the block. ``error`` is the largest
    difference of an output, relative to the largest output. ``norms_kept`` has the reason for each norm that could
    not be folded, by name. ``seconds`` are those of the whole model with each selection that was tried.
    """

    target: str
    threads: int | None
    autotuned: bool
    input_shape: tuple[int, ...]
    params_before: int
    params_after: int
    macs_before: int
    macs_after: int
    norms_folded: int
    error: float
    layers: tuple[OptimizedBlock, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    norms_kept: Mapping[str, str] = field(default_factory=dict)

    @property
    def implementations(self) -> dict[str, ImplementationId]:
        """The implementation of each block by name, as ``optimize_for_inference(implementations=...)`` takes them."""
        return {layer.name: layer.implementation for layer in self.layers}

    @property
    def dense(self) -> int:
        """How many blocks run as one dense layer."""
        return sum(layer.is_dense for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values."""
        layers = [layer.to_json() for layer in self.layers]
        maps = {"seconds": dict(self.seconds), "norms_kept": dict(self.norms_kept)}
        return vars(self) | {"input_shape": list(self.input_shape), "layers": layers} | maps

    @classmethod
    def from_json(cls, data: Any) -> Optimization:
        """Read what :meth:`to_json` wrote, in this or the first format.

        Raises :class:`kswap.errors.DeployError` for anything else.
        """
        try:
            layers = tuple(OptimizedBlock.from_json(layer) for layer in data["layers"])
            return cls(**(dict(data) | {"input_shape": tuple(data["input_shape"]), "layers": layers}))
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise DeployError("this is no record of an optimisation: optimise the model again") from error


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
