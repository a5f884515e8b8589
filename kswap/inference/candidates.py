"""What optimising knows of one block: the ways to compute it, built from weights that were folded once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace

from kswap.errors import DeployError
from kswap.nn.implementation import Implementation, ImplementationId

# An implementation that is only estimated to be quicker than the first one has to be so by this much. With 0.8, 0 and 1
# of the 17 different blocks of efficientnet_b0 (Ch 16, 224 pixels, one thread) were slower than their dense layers in
# ONNX Runtime and OpenVINO, and all together took 2.0 and 1.5 times less time than those.
_MARGIN = 0.8


@dataclass(frozen=True)
class Candidates:
    """The implementations of one block, the densest first; all have the same outputs.

    Args:
        implementations: those of the block; they differ in speed and in what is stored.
        norms: how many norms inside the block were folded.
        likeness: equal for two blocks where one measurement of the same input shape does for both.
        group: blocks of the same text meet the same neighbours in a network, and are tuned together.
        absent: why others cannot run on this machine, by their identifiers.
    """

    implementations: tuple[Implementation, ...]
    norms: int
    likeness: Hashable
    group: str
    absent: Mapping[ImplementationId, str] = field(default_factory=dict)

    @property
    def densest(self) -> Implementation:
        """The one of nothing but dense layers."""
        return self.implementations[0]

    def __getitem__(self, wanted: ImplementationId) -> Implementation:
        """The implementation with this identifier. Raises :class:`kswap.errors.DeployError` where there is none."""
        for implementation in self.implementations:
            if implementation.id == wanted:
                return implementation
        if wanted in self.absent:
            raise DeployError(f"{wanted} cannot run: {self.absent[wanted]}; optimise the model again, here")
        known = ", ".join(str(implementation.id) for implementation in self.implementations)
        raise DeployError(f"there is no implementation {wanted}: there are {known}; optimise the model again")

    def without_native(self) -> Candidates:
        """Those that need nothing but torch."""
        return replace(self, implementations=tuple(one for one in self.implementations if not one.id.is_native))

    def for_target(self, target: str) -> tuple[Implementation, ...]:
        """Those that ``target`` can run."""
        return tuple(implementation for implementation in self.implementations if implementation.runs_in(target))

    def shortlist(self, target: str, most: int) -> tuple[Implementation, ...]:
        """The first one, those that are only taken if measured, and those of the least cost, ``most`` in all."""
        first, *rest = self.for_target(target)
        return (first, *sorted(rest, key=lambda one: (not one.only_measured, one.cost.estimate))[: most - 1])

    def estimated(self, target: str) -> Implementation:
        """The one to take without measuring: the first, unless another is estimated to be clearly quicker."""
        first, *_ = found = [one for one in self.for_target(target) if not one.only_measured]
        best = min(found, key=lambda one: one.cost.estimate)
        return best if best.cost.estimate < _MARGIN * first.cost.estimate else first
