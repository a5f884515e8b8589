"""What the study of families measures, as a value that is stored beside its results."""

from __future__ import annotations

from dataclasses import dataclass

from kswap.benchmarks.request import BenchmarkRequest
from kswap.errors import StudyError


@dataclass(frozen=True)
class Settings:
    """How every network is converted and timed, as for :class:`kswap.benchmarks.request.BenchmarkRequest`.

    ``most_gmacs`` leaves out families whose smallest network has more billions of MACs.

    Raises :class:`StudyError` where a target is missing or a number is too small.
    """

    targets: tuple[str, ...] = ("onnxruntime", "eager")
    ch: int = 16
    batch: int = 1
    threads: int = 1
    rounds: int | None = None
    autotune: bool = True
    most_gmacs: float = 5.0

    def __post_init__(self) -> None:
        if not self.targets:
            raise StudyError("the study of families needs a target: name one, such as onnxruntime")
        for name in ("ch", "batch", "threads"):
            if getattr(self, name) < 1:
                raise StudyError(f"{name} must be at least 1, not {getattr(self, name)}")

    @property
    def most_macs(self) -> float:
        return self.most_gmacs * 1e9

    def request(self, model: str) -> BenchmarkRequest:
        """The benchmark of one network."""
        return BenchmarkRequest(
            models=(model,),
            ch=(self.ch,),
            batches=(self.batch,),
            targets=self.targets,
            threads=self.threads,
            device="cpu",
            rounds=self.rounds,
            memory=False,
            autotune=self.autotune,
        )
