"""What decides the results of trials, stage by stage, as values that are stored beside them and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kswap.errors import DeployError, PlanError
from kswap.planner.alignment import check_align
from kswap.planning import PlanSettings, can_align
from kswap.rules import RuleSet, load_rules
from kswap.scans.trial import Trial
from kswap.training.recipe import TrainingRecipe


@dataclass(frozen=True)
class PlanningSettings:
    """How every network is planned.

    Args:
        model_kwargs: Arguments of the builders.
        input_size: ``(height, width)`` or ``(channels, height, width)``; else each model's own.
        rules: A rule set as :meth:`kswap.rules.RuleSet.to_json` writes it; ``None`` is the preset of the scheme.
        linear: Whether Linear layers are replaced too.
        skip_strides: Stride 1 in so many of the first strided stages.
        align: Channels and filters of groups in multiples of this number; kinds without groups leave it out.
    """

    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    input_size: tuple[int, ...] | None = None
    rules: Mapping[str, Any] | None = None
    linear: bool = False
    skip_strides: int = 0
    align: int | None = None

    def __post_init__(self) -> None:
        if self.align is not None:
            check_align(self.align)

    def of(self, trial: Trial) -> PlanSettings:
        """What a trial asks of the planner. Raises :class:`kswap.errors.KswapError` subclasses."""
        assert trial.kind is not None
        assert trial.scheme is not None
        assert trial.ch is not None
        align = self.align_of(trial)
        return PlanSettings.of(trial.ch, trial.scheme, self._rules_of(trial), self.linear, trial.kind, align=align)

    def align_of(self, trial: Trial) -> int | None:
        """What a trial is planned with: ``None`` where it has no blocks of groups."""
        return self.align if trial.kind is not None and can_align(trial.kind, self._rules_of(trial)) else None

    def check_aligns(self, trials: Iterable[Trial]) -> None:
        """Refuse ``align`` where it is for none of the trials (:class:`kswap.errors.PlanError`)."""
        kinds = {trial.kind: self.align_of(trial) for trial in trials if trial.kind is not None}
        if self.align is not None and not any(kinds.values()):
            raise PlanError(f"align is for blocks of groups, and {' or '.join(kinds)} has none: leave align out")

    def _rules_of(self, trial: Trial) -> RuleSet:
        assert trial.scheme is not None
        return load_rules(None if self.rules is None else dict(self.rules), scheme=trial.scheme)


@dataclass(frozen=True)
class LatencySettings:
    """How one pass of every network is timed beside one of its original.

    Args:
        target: Where: a name of :data:`kswap.runtimes.targets.TARGETS`.
        batch: Samples of a pass.
        threads: Threads of a pass; ``None`` leaves the number to the runtime.
        rounds: Fixes the number of rounds; else 15 to 60 of them, for 10 seconds.
        autotune: Measures the implementation of each block; else it is estimated.
        cpu: The processor: times of two machines do not go together.
    """

    target: str
    batch: int = 1
    threads: int | None = None
    rounds: int | None = None
    autotune: bool = True
    cpu: str = ""

    def __post_init__(self) -> None:
        for name in ("batch", "threads", "rounds"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise DeployError(f"{name} must be at least 1, not {value}")


@dataclass(frozen=True)
class TrainingSettings:
    """How every network is trained from fresh weights, its original too.

    Args:
        name: What the recipe is called.
        recipe: The recipe.
        data: The pictures: one or several that :func:`kswap.train` takes.
        data_dir: Where downloaded pictures are kept.
        seed: Of the weights, and of the order of the pictures.
        device: Where a network is trained: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        tested: The pictures that accuracy is measured on.
    """

    name: str
    recipe: TrainingRecipe
    data: tuple[str, ...]
    data_dir: str | None = None
    seed: int = 0
    device: str = "auto"
    tested: str = ""
