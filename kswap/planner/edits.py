"""Small edits of the original network that a plan begins with: strides and activations. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from kswap.errors import PlanError
from kswap.planner.activations import ACTIVATIONS
from kswap.planner.sites import check_fields

STRIDE, ACTIVATION = "stride", "activation"


@dataclass(frozen=True)
class Edit:
    """One module of the original network set otherwise: ``stride`` to ``"1"``, or its ``activation``.

    >>> Edit("conv_stem", "stride", "1").to
    '1'
    """

    module: str
    set: str
    to: str

    def __post_init__(self) -> None:
        check_fields(self, "an edit of the plan")
        if self.set not in (STRIDE, ACTIVATION):
            raise PlanError(f"an edit of the plan sets '{self.set}': known are {STRIDE} and {ACTIVATION}")
        if self.set == STRIDE and self.to != "1":
            raise PlanError(f"the stride of '{self.module}' can only be set to 1, not {self.to}")
        if self.set == ACTIVATION and self.to not in ACTIVATIONS:
            raise PlanError(f"unknown activation '{self.to}': known are {', '.join(ACTIVATIONS)}")


def describe(edits: tuple[Edit, ...]) -> tuple[str, ...]:
    """Edits for the reader: one sentence a kind.

    >>> describe((Edit("conv_stem", "stride", "1"), Edit("bn1.act", "activation", "relu")))
    ('stride 1 instead of the own one in conv_stem', '1 activation of the network is relu now')
    """
    strides = [edit.module for edit in edits if edit.set == STRIDE]
    sentences = [f"stride 1 instead of the own one in {', '.join(strides)}"] if strides else []
    for name in dict.fromkeys(edit.to for edit in edits if edit.set == ACTIVATION):
        count = sum(edit.to == name for edit in edits)
        plural = "activation of the network is" if count == 1 else "activations of the network are"
        sentences.append(f"{count} {plural} {name} now")
    return tuple(sentences)
