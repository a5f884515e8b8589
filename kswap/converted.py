"""A converted model with its plan and report, as a value."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import fx, nn

from kswap.graph.call import Call
from kswap.graph.clone import full_clone
from kswap.graph.tracer import graph_module
from kswap.hub.card import base_model_of
from kswap.hub.push import Pushed, push
from kswap.planner.plan import Plan
from kswap.report.calls import current_call
from kswap.report.provenance import WeightsStep
from kswap.report.report import Report
from kswap.saved.directory import save
from kswap.saved.other_routes import warn_where_saved_otherwise_
from kswap.sources.source import Source
from kswap.sources.trained import load_checkpoint_


@dataclass(frozen=True)
class Conversion:
    """A converted model with its plan and report.

    ``model`` is of the same class as the original and has its methods. ``source`` says where the original
    came from, ``base_hash`` is the hash of the structure of its state. ``call`` is how the model was called, with
    empty tensors. ``model`` warns when it is saved by a route that cannot bring it back.
    """

    model: nn.Module
    plan: Plan
    report: Report
    source: Source
    base_hash: str
    call: Call = field(default_factory=lambda: Call((torch.empty(1, device="meta"),)), repr=False, compare=False)

    def __post_init__(self) -> None:
        warn_where_saved_otherwise_(self.model)

    @cached_property
    def graph_module(self) -> fx.GraphModule:
        """The spliced graph over the same parameters, with K, interleave, L and sum as nodes.

        Raises :class:`kswap.graph.tracer.TraceError` where torch.fx cannot trace the model.
        """
        return graph_module(self.model, self.call)

    def with_weights(self, path: str | Path) -> Conversion:
        """The same conversion with the trained weights of a file, in a copy of the model.

        Args:
            path: safetensors, or what ``torch.save``, Lightning, the Trainer of transformers or timm's ``train.py``
                wrote for this model, alone or inside of another module. No code in it runs.

        Raises :class:`kswap.errors.ModelError` where it cannot be read or does not fit.
        """
        model = full_clone(self.model)
        load_checkpoint_(model, path, f"{self.plan.model} as it was converted")
        report = self.report
        if report.provenance is not None:
            step = WeightsStep("loaded", data=Path(path).name)
            report = report.with_provenance(report.provenance.after(current_call(), step))
        return replace(self, model=model, report=report)

    def push_to_hub(
        self,
        repo: str,
        private: bool = False,
        revision: str | None = None,
        message: str = "Push a model that kswap converted",
        license: str | None = None,
        base_model: str | None = None,
        keep_card: bool = False,
    ) -> Pushed:
        """Save, and commit that to a repository of the Hugging Face Hub, with a model card.

        ``kswap.load("hf-hub:owner/name")`` loads it again. Without ``base_model`` it is the repository that
        ``from_pretrained`` of transformers loaded the original from, where it did. See :func:`kswap.hub.push.push`
        for the arguments and what is raised.
        """
        with tempfile.TemporaryDirectory(prefix="kswap-") as temporary:
            directory = self.save(Path(temporary) / "saved")
            base_model = base_model or base_model_of(self.model)
            return push(directory, repo, private, revision, message, license, base_model, keep_card)

    def save(self, directory: str | Path, force: bool = False) -> Path:
        """Write weights, plan and reports into ``directory``; see :func:`kswap.saved.directory.save`."""
        return save(self.model, self.plan, self.report, self.source, self.base_hash, self.call, directory, force)
