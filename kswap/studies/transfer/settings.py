"""What a study of trained networks measures, as a value that is stored beside its results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kswap.errors import StudyError


@dataclass(frozen=True)
class Settings:
    """The network, the pictures, and how every method is trained and measured.

    Args:
        model: The trained network, a name as for :func:`kswap.convert`.
        model_kwargs: Arguments of its builder.
        weights: A file with its weights; ``None`` where the builder brings them.
        data: A folder or zip of ``SPLIT/CLASS/FILE``.
        train_split: The pictures to learn from.
        validation_split: The pictures that accuracies are measured on, and nothing else.
        side: Height and width of the inputs in pixels.
        shares: Parameters that are left, as shares of the original's.
        main_share: The share at which learning rates are chosen, and several seeds are run.
        seeds: How many seeds at ``main_share``; one at the others.
        images: Images seen in distillation.
        early: A point on the way at which the accuracy is measured too.
        long_images: Images seen in the long runs, of the best of ours and the best peer at ``main_share``; 0 for none.
        recipe: How every network is distilled, as for :func:`kswap.distill`; learning rate and norms are the method's.
        learning_rates: The greatest learning rates that are tried.
        held_out: Training pictures on which learning rates are compared; the rest is learnt from meanwhile.
        choosing_images: Images seen in each of these trials.
        calibration: Training pictures that a network is projected or pruned with.
        latency_side: Height and width of the input whose latency is measured.
        threads: Threads of one operator, in ONNX Runtime.

    Raises:
        StudyError: A value is out of its range.
    """

    model: str
    data: str
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    train_split: str = "train"
    validation_split: str = "val"
    side: int = 96
    shares: tuple[float, ...] = (0.4, 0.2, 0.14, 0.1)
    main_share: float = 0.2
    seeds: int = 3
    images: int = 12_000
    early: int = 2_000
    long_images: int = 40_000
    recipe: str = "distill"
    learning_rates: tuple[float, ...] = (1e-3, 3e-4)
    held_out: int = 600
    choosing_images: int = 4_000
    calibration: int = 512
    latency_side: int = 224
    threads: int = 1

    def __post_init__(self) -> None:
        for share in (*self.shares, self.main_share):
            if not 0 < share < 1:
                raise StudyError(f"a share of parameters must be between 0 and 1, not {share:g}")
        counts = ("side", "seeds", "images", "early", "held_out", "choosing_images", "calibration")
        for name in (*counts, "latency_side", "threads"):
            if getattr(self, name) < 1:
                raise StudyError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not self.learning_rates or not self.shares:
            raise StudyError("a study needs at least one learning rate and one share of parameters")
        if self.images % self.early:
            raise StudyError(f"images ({self.images}) must be a multiple of the early point ({self.early})")
