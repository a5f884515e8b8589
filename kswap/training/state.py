"""How far a run is, beside the weights, and what was measured on the way."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Quality:
    """How good the weights are: top-1 accuracy, from 0 to 1, and the mean loss on the same pictures.

    ``None`` stands for what was not measured.
    """

    top1: float | None = None
    loss: float | None = None


@dataclass(frozen=True)
class Measured:
    """What was measured after ``images`` images.

    Args:
        images: Images seen in training, each as often as it was seen.
        loss: The mean loss in training since the measurement before; ``None`` before the first step.
        top1: Top-1 accuracy, from 0 to 1; ``None`` where there are no labels.
        eval_loss: The mean loss on the pictures that accuracy is measured on.
        lr: The learning rate of the step that follows.
    """

    images: int
    loss: float | None
    top1: float | None
    eval_loss: float | None = None
    lr: float | None = None


@dataclass
class State:
    """How far a run is, beside the weights.

    ``best`` are the weights with the greatest score so far, on the CPU, after ``best_images`` images. ``seconds`` are
    those of all steps and measurements, ``measuring_seconds`` those of the measurements alone.
    """

    step: int = 0
    losses: list[float] = field(default_factory=list)
    measured: list[Measured] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    best_score: float | None = None
    best_images: int = 0
    seconds: float = 0.0
    measuring_seconds: float = 0.0

    def to_plain(self) -> dict[str, Any]:
        """Values that a checkpoint may hold."""
        return {**vars(self), "measured": [list(astuple(one)) for one in self.measured]}

    @classmethod
    def of_plain(cls, plain: dict[str, Any]) -> State:
        """The state that :meth:`to_plain` wrote."""
        return cls(**{**plain, "measured": [Measured(*values) for values in plain["measured"]]})
