"""Hidden channels taken out of the original network: those between an expansion and its projection. Values only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kswap.errors import PlanError, excerpt

# Convolutions with multiples of 8 channels are the quick ones on most processors.
CHANNEL_MULTIPLE = 8


@dataclass(frozen=True)
class HiddenChannels:
    """The layers that hold the ``width`` channels between ``expansion``, which makes them, and ``projection``.

    ``along`` are the layers in between that have weights for each channel by itself: norms and depthwise convolutions.
    Where a gate multiplies the channels (squeeze and excite), ``squeezes`` are its layers that read them, and
    ``excites`` those that make one factor for each of them. All are names of modules.
    """

    expansion: str
    projection: str
    width: int
    along: tuple[str, ...] = ()
    squeezes: tuple[str, ...] = ()
    excites: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        twice = {name for name in self.layers if self.layers.count(name) > 1}
        if twice or "" in self.layers:
            what = f"name {excerpt(min(twice))} twice" if twice else "lack a name"
            raise PlanError(f"the hidden channels of '{excerpt(self.expansion)}' {what}")

    @property
    def made_by(self) -> tuple[str, ...]:
        """The layers with one output for each of the channels."""
        return (self.expansion, *self.excites)

    @property
    def read_by(self) -> tuple[str, ...]:
        """The layers with one input for each of the channels."""
        return (self.projection, *self.squeezes)

    @property
    def layers(self) -> tuple[str, ...]:
        """All layers that become narrower with the channels."""
        return (*self.made_by, *self.along, *self.read_by)

    def widths(self, shares: Iterable[float]) -> tuple[int, ...]:
        """Fewer channels, in multiples of 8, that come nearest to ``shares`` of them; the widest first.

        >>> HiddenChannels("conv_pw", "conv_pwl", 144).widths((0.75, 0.5, 0.01, 1.0))
        (112, 72, 8)
        """
        nearest = (round(share * self.width / CHANNEL_MULTIPLE) * CHANNEL_MULTIPLE for share in shares)
        counts = {max(CHANNEL_MULTIPLE, count) for count in nearest}
        return tuple(sorted((count for count in counts if count < self.width), reverse=True))


@dataclass(frozen=True)
class Narrowing:
    """``channels`` of the ``hidden`` channels stay; the others leave all layers that hold them.

    >>> Narrowing(HiddenChannels("conv_pw", "conv_pwl", 96, along=("bn1", "conv_dw", "bn2")), 48).channels
    48
    """

    hidden: HiddenChannels
    channels: int

    def __post_init__(self) -> None:
        if not 0 < self.channels < self.hidden.width:
            raise PlanError(
                f"a narrowing of '{excerpt(self.hidden.expansion)}' must leave between 1 and {self.hidden.width - 1} "
                f"of its {self.hidden.width} channels, not {self.channels}"
            )


def describe_narrowings(narrowings: tuple[Narrowing, ...]) -> tuple[str, ...]:
    """Narrowings for the reader, as one sentence.

    >>> describe_narrowings((Narrowing(HiddenChannels("conv_pw", "conv_pwl", 96), 48),))
    ('hidden channels taken out, and sites counted without them: conv_pw 96 to 48',)
    """
    if not narrowings:
        return ()
    each = (f"{item.hidden.expansion} {item.hidden.width} to {item.channels}" for item in narrowings)
    return (f"hidden channels taken out, and sites counted without them: {', '.join(each)}",)
