"""What a site is: one pointwise layer of a model, with the norm and activation that follow it.

A site is a plain value. The graph rooms make it, rules and planner read it, the splice finds its modules
again by their qualified names.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from kswap.codec import stored
from kswap.errors import PlanError

ROLES = ("classifier", "fused-qkv", "attention", "squeeze-excite", "expansion", "projection", "pointwise")

# What computes the same map: a 1x1 Conv2d, a Linear, and Conv1d and Conv3d with kernel 1.
LAYER_KINDS = ("conv", "linear", "conv1d", "conv3d")

# The kinds that are sites unless rules or --linear say otherwise.
CONVOLUTIONS = ("conv", "conv1d", "conv3d")


@dataclass(frozen=True)
class AbsorbedLayer:
    """A norm or an activation that follows a pointwise layer.

    ``name`` is its qualified name, or ``""`` for a function such as ``F.relu``. ``operations`` are the
    operations that it costs at batch 1, as the papers count them (see :mod:`kswap.planner.counting`). ``stays`` says
    that the block takes a copy and the call in the model remains (a shared or functional ReLU, which changes
    nothing when it is applied a second time).
    """

    name: str
    type: str
    params: int = 0
    trainable_params: int = 0
    operations: int = 0
    stays: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "a norm or activation of the plan")


@dataclass(frozen=True)
class Site:
    """One pointwise layer: a 1x1 convolution, or a layer that computes the same map.

    ``positions`` is the number of output positions (height x width, or what a linear layer has in their place,
    summed over all calls) at batch 1. ``keep_reason`` is the structural reason why this layer cannot or must not be
    replaced, else ``None``. ``chain_break`` says why norm or activation are not taken into the block where the chain
    ends early. ``filter_params`` are the parameters of each filter beside weight and bias (the gain of a
    weight-standardised one), each multiplied once in a call; ``fewest_inputs`` is how many inputs a group of
    this kind of layer needs. ``opt_in_reason`` is the reason why it stays unless a rule asks for it, by name or by
    role, with ``keep = false``.
    """

    name: str
    in_channels: int
    out_channels: int
    stride: int = 1
    bias: bool = False
    trainable: bool = True
    type: str = "Conv2d"
    role: str = "pointwise"
    positions: int = 1
    calls: int = 1
    norm: AbsorbedLayer | None = None
    activation: AbsorbedLayer | None = None
    keep_reason: str | None = field(default=None, metadata=stored(old=("keep",)))
    chain_break: str | None = field(default=None, metadata=stored(old=("broken",)))
    filter_params: int = 0
    fewest_inputs: int = 1
    opt_in_reason: str | None = field(default=None, metadata=stored(old=("on_request",)))

    def __post_init__(self) -> None:
        check_fields(self, f"site '{self.name}'")
        if not self.name:
            raise PlanError("the name of a site must not be empty")
        if self.role not in ROLES:
            raise PlanError(f"unknown role '{self.role}' of site '{self.name}': known are {', '.join(ROLES)}")
        for label in ("in_channels", "out_channels", "stride"):
            if getattr(self, label) < 1:
                raise PlanError(f"{label} of site '{self.name}' must be at least 1, not {getattr(self, label)}")

    def per_sample(self, samples: int) -> Site:
        """The same site with the counts of one of ``samples``, of which they are multiples."""
        if samples == 1:
            return self
        norm, activation = (
            part and replace(part, operations=part.operations // samples) for part in (self.norm, self.activation)
        )
        return replace(self, positions=self.positions // samples, norm=norm, activation=activation)


# The fields, and what plans of format 1 called three of them.
SITE_KEYS = (*(f.name for f in fields(Site)), "keep", "broken", "on_request")


_WORDS = {"int": "a whole number", "str": "text", "bool": "true or false", "None": "null"}


def check_fields(value: Any, what: str) -> None:
    """Refuse a dataclass whose fields are not of the types that it states; whole numbers are not negative.

    Plans come from files that people edit. Raises :class:`PlanError`.
    """
    for f in fields(value):
        found = getattr(value, f.name)
        kind = "None" if found is None else type(found).__name__
        allowed = str(f.type).split(" | ")
        if kind not in allowed:
            words = " or ".join(_WORDS.get(name, "a table") for name in allowed)
            raise PlanError(f"{f.name} of {what} must be {words}, not {found!r:.60}")
        if type(found) is int and found < 0:
            raise PlanError(f"{f.name} of {what} must not be negative, but is {found}")
