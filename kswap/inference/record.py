"""What optimising did, as a value: the form of each block, and what is stored and multiplied now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from kswap.errors import DeployError
from kswap.inference.forms import DENSE


@dataclass(frozen=True)
class LayerForm:
    """One block: the form that it runs in, its parameters as trained and as stored now, and what was measured.

    ``seconds`` has the time of each form that was tried, on the block's own input; it is empty where the form
    was estimated or given.
    """

    name: str
    form: str
    params_before: int
    params_after: int
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_dense(self) -> bool:
        """Whether the block runs as one dense layer: that which it replaced, for all that speed is concerned."""
        return self.form == DENSE


@dataclass(frozen=True)
class Optimization:
    """The record of one :func:`kswap.optimize_for_inference`.

    ``params_*`` are of the whole model, ``macs_*`` of one pass over an input of ``input_shape``; both may be
    larger than what was trained, where a dense layer is quicker than the block. ``error`` is the largest
    difference of an output, relative to the largest output. ``seconds`` are those of the whole model with each
    assignment of forms that was tried.
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
    layers: tuple[LayerForm, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def forms(self) -> dict[str, str]:
        """The form of each block by name; ``optimize_for_inference(..., forms=...)`` takes them again."""
        return {layer.name: layer.form for layer in self.layers}

    @property
    def dense(self) -> int:
        """How many blocks run as one dense layer."""
        return sum(layer.is_dense for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        return data | {"input_shape": list(self.input_shape), "layers": [asdict(layer) for layer in self.layers]}

    @classmethod
    def from_json(cls, data: Any) -> Optimization:
        """Read what :meth:`to_json` wrote. Raises :class:`DeployError` for anything else."""
        try:
            layers = tuple(LayerForm(**layer) for layer in data["layers"])
            return cls(**(dict(data) | {"input_shape": tuple(data["input_shape"]), "layers": layers}))
        except (TypeError, KeyError) as error:
            raise DeployError("this is no record of an optimisation: optimise the model again") from error
