"""The second stage: one pass of every network timed beside one of its original, in this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import nn

from kswap.benchmarks.comparing import compare
from kswap.benchmarks.model_pair import BenchmarkedModel, ModelPair
from kswap.benchmarks.request import BenchmarkRequest
from kswap.benchmarks.steps import Step, chosen_targets
from kswap.conversion import convert
from kswap.graph.clone import full_clone
from kswap.graph.edits import apply_edits_
from kswap.graph.random_state import preserved_random_state
from kswap.loading import original_model
from kswap.planner.plan import Plan
from kswap.runtimes.prepared import torch_threads
from kswap.runtimes.targets import find_target
from kswap.scans.settings import LatencySettings
from kswap.scans.trial import Latency
from kswap.timing import TimeComparison


def chosen_target(name: str) -> str:
    """The target ``name`` if it is installed. Raises :class:`kswap.errors.DeployError`."""
    return chosen_targets([name], torch.device("cpu"))[0]


@dataclass
class Stopwatch:
    """Times networks of one model, which is built with fresh weights when it is first needed."""

    title: str
    model: str | nn.Module
    model_kwargs: Mapping[str, Any]
    settings: LatencySettings
    _original: nn.Module | None = field(default=None, init=False)

    def time(self, plan: Plan) -> Latency:
        """The network of ``plan`` against its original, both optimised alike for the target.

        Raises :class:`kswap.errors.KswapError` subclasses.
        """
        asked, original = self.settings, self._built()
        conversion = convert(original, plan=plan, device="cpu", seed=0)
        edited = full_clone(original)
        apply_edits_(edited, plan.edits)
        pair = ModelPair(edited.eval(), conversion.model.eval(), conversion.report)
        request = BenchmarkRequest(
            models=(self.title,),
            targets=(asked.target,),
            threads=asked.threads,
            rounds=asked.rounds,
            memory=False,
            autotune=asked.autotune,
        )
        step = Step(asked.batch, asked.target, find_target(asked.target).device, "inference", "optimised")
        with torch_threads(asked.threads):
            row = compare(request, BenchmarkedModel(self.title), pair, step)
        comparison = {f.name: getattr(row, f.name) for f in fields(TimeComparison)}
        return Latency(**comparison, original=row.seconds.original, own=row.seconds.rewritten)

    def _built(self) -> nn.Module:
        if self._original is None:
            with preserved_random_state(0):
                _, built = original_model(self.model, dict(self.model_kwargs))
            self._original = full_clone(built).cpu().eval()
        return self._original
