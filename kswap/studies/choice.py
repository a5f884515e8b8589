"""The learning rate of a method, chosen on training pictures that were held out meanwhile."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """A learning rate, and accuracy and loss on the held-out training pictures with each that was tried.

    ``structured_lr`` is that of the layers of blocks, as a multiple; ``structured_tried`` has it for each trial where
    it was tried too.
    """

    method: str
    lr: float
    tried: tuple[float, ...]
    accuracies: tuple[float, ...]
    losses: tuple[float, ...]
    structured_lr: float = 1.0
    structured_tried: tuple[float, ...] = ()
