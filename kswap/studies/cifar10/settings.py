"""What a study on CIFAR-10 measures, as a value that is stored beside its results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kswap.codec import stored
from kswap.errors import StudyError


@dataclass(frozen=True)
class Stage:
    """Methods that are run with the same number of seeds."""

    methods: tuple[str, ...]
    seeds: int


@dataclass(frozen=True)
class Settings:
    """The pictures, the network, how all of its forms are trained, and which forms there are.

    Args:
        protocol: The name that these settings are known by.
        data: Folders or zips of ``SPLIT/CLASS/FILE``, or names of public sets, which together hold the splits
            ``train`` and ``test``.
        network: The baseline, a name as for :func:`kswap.convert`.
        stages: Which methods are run, what matters most first. They are not stored: a study may be given more of them.
        side: Height and width of the inputs in pixels.
        skip_strides: So many strided stages have stride 1, in all networks.
        arguments: Of the baseline's builder, beside ``num_classes``.
        converted_arguments: Further ones where pointwise convolutions are replaced.
        narrowed: The timm network whose width is changed for the narrower peer.
        main_ch: The v2 network with so many channels per group is what the peers have the parameters of.
        num_classes: Outputs of the classifier.
        recipe: How every network is trained, as for :func:`kswap.train`.
        recipe_changes: Values of the recipe that are other ones here, such as ``epochs``.
        learning_rates: What is tried, each multiplied with the recipe's; with none the recipe's is taken.
        structured_rates: What is tried for the layers of blocks after that, each multiplied with the best learning
            rate; with none they learn as all others.
        choosing_epochs: Epochs of each of these trials.
        zero_classifier: The weights and the bias of the classifier start at 0, in all networks: a short training need
            not undo what a random classifier says.
        held_out: The share of the training pictures on which learning rates are compared.
        device: Where networks are trained.
        amp: Mixed precision, as for :func:`kswap.train`.
        threads: Threads of one operator where times are measured.

    Raises:
        StudyError: A value is out of its range.
    """

    protocol: str
    data: tuple[str, ...]
    network: str
    stages: tuple[Stage, ...] = field(default=(), metadata=stored(skip=True))
    side: int = 32
    skip_strides: int = 0
    arguments: Mapping[str, Any] = field(default_factory=dict)
    converted_arguments: Mapping[str, Any] = field(default_factory=dict)
    narrowed: str = ""
    main_ch: int = 16
    num_classes: int = 10
    recipe: str = "quick"
    recipe_changes: Mapping[str, Any] = field(default_factory=dict)
    learning_rates: tuple[float, ...] = ()
    structured_rates: tuple[float, ...] = ()
    choosing_epochs: float = 1.0
    zero_classifier: bool = False
    held_out: float = 0.1
    device: str = "cpu"
    amp: str = "off"
    threads: int = 1

    def __post_init__(self) -> None:
        for name in ("side", "main_ch", "num_classes", "threads"):
            if getattr(self, name) < 1:
                raise StudyError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not self.data:
            raise StudyError("a study needs pictures: pass --data (data= in Python)")
        if any(stage.seeds < 1 for stage in self.stages):
            raise StudyError("a study needs at least one seed")
        if min((*self.learning_rates, *self.structured_rates), default=1.0) <= 0 or self.choosing_epochs <= 0:
            raise StudyError("learning rates and the epochs to choose them by must be above 0")

    @property
    def input_size(self) -> tuple[int, int, int]:
        """(channels, height, width) of the inputs."""
        return 3, self.side, self.side

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of all methods, each once."""
        return tuple(dict.fromkeys(method for stage in self.stages for method in stage.methods))
