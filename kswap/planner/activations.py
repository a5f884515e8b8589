"""The activations that kswap knows by name: what each costs, and what Keras calls it. The only such table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kswap.errors import PlanError


@dataclass(frozen=True)
class Activation:
    """One elementwise activation.

    Args:
        name: its name in rules, plans and arguments of networks.
        operations: multiplications per element, as the papers count them (see :mod:`kswap.planner.counting`).
        keras_names: Keras' names for it, in lower case and without underscores.
    """

    name: str
    operations: int
    keras_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name or self.operations < 0:
            raise PlanError("an activation needs a name and a number of operations that is not negative")


_ACTIVATIONS = (
    Activation("identity", 0, ("linear",)),
    Activation("relu", 0, ("relu",)),
    Activation("relu6", 0, ("relu6",)),
    Activation("silu", 1, ("swish", "silu")),
    Activation("hard_swish", 2, ("hardswish",)),
    Activation("hard_sigmoid", 1, ("hardsigmoid",)),
    Activation("sigmoid", 0, ("sigmoid",)),
    Activation("gelu", 2, ("gelu",)),
    Activation("tanh", 0, ("tanh",)),
)

ACTIVATIONS: Mapping[str, Activation] = {activation.name: activation for activation in _ACTIVATIONS}


def from_keras(name: str) -> str | None:
    """The name here of the activation that Keras calls ``name``, in any spelling; ``None`` where it is unknown.

    >>> from_keras("swish"), from_keras("HardSwish"), from_keras("hard_swish"), from_keras("mish")
    ('silu', 'hard_swish', 'hard_swish', None)
    """
    spelled = name.lower().replace("_", "")
    return next((activation.name for activation in _ACTIVATIONS if spelled in activation.keras_names), None)
