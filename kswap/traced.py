"""A model that was built without weights, run and traced once, for any number of plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from kswap.errors import ModelError, PlanError
from kswap.graph.call import Call, Example
from kswap.graph.clone import is_on_meta, sharing_clone
from kswap.graph.edits import apply_edits_
from kswap.loading import original_model
from kswap.narrowing import NarrowSpec, narrowed_, narrowings_of
from kswap.planner.edits import Edit
from kswap.planner.narrowing import Narrowing
from kswap.planner.plan import Counts, Plan
from kswap.planning import PlanSettings, Run, edits_of, plan_of, run_of
from kswap.sources.inputs import call_for
from kswap.sources.source import Source


@dataclass(frozen=True, eq=False)
class TracedModel:
    """What plans of one model have in common: the run of it, and its graph.

    ``base`` is the model after ``edits`` and ``narrowings``, and ``before`` are its counts before the narrowings.
    ``layers`` and ``activations`` are what of the rules it was traced for: the kinds of layers that are sites, and
    the activations that are exchanged everywhere.
    """

    source: Source
    base: nn.Module
    call: Call
    run: Run
    edits: tuple[Edit, ...]
    narrowings: tuple[Narrowing, ...]
    before: Counts | None
    layers: tuple[str, ...]
    activations: Mapping[str, str]

    @classmethod
    def of(
        cls,
        model: nn.Module | str,
        model_kwargs: dict[str, Any],
        settings: PlanSettings,
        skip_strides: int = 0,
        narrow: NarrowSpec = None,
        example_input: Example | None = None,
        input_size: tuple[int, ...] | None = None,
    ) -> TracedModel:
        """Trace ``model``, by name without allocating weights unless its forward pass needs real numbers.

        Arguments are those of :func:`kswap.plan`; of ``settings`` only ``layers`` and ``activations`` count. Raises
        :class:`kswap.errors.KswapError` subclasses.
        """
        source, base = original_model(model, model_kwargs, meta=True)
        try:
            return cls._of(source, base, settings, skip_strides, narrow, example_input, input_size)
        except ModelError:
            if not isinstance(model, str) or not is_on_meta(base):
                raise
        source, base = original_model(model, model_kwargs)
        return cls._of(source, base, settings, skip_strides, narrow, example_input, input_size)

    @classmethod
    def _of(
        cls,
        source: Source,
        base: nn.Module,
        settings: PlanSettings,
        skip_strides: int,
        narrow: NarrowSpec,
        example_input: Example | None,
        input_size: tuple[int, ...] | None,
    ) -> TracedModel:
        edits = edits_of(base, source.title, settings, skip_strides, call_for(base, source, example_input))
        if edits or narrow is not None:
            base, _ = sharing_clone(base)
        apply_edits_(base, edits)
        call = call_for(base, source, example_input, input_size)
        run = run_of(base, source.title, call, settings.kinds)
        done = narrowed_(base, source.title, call, run, narrowings_of(base, run, narrow), settings.kinds)
        swapped = settings.rules.swap_activations
        return cls(source, base, call, done.run, edits, done.narrowings, done.before, settings.kinds, swapped)

    def fits(self, settings: PlanSettings) -> bool:
        """Whether this run serves plans with ``settings``: Ch, scheme, kind and what rules say of sites may differ."""
        return (self.layers, self.activations) == (settings.kinds, settings.rules.swap_activations)

    def plan(self, settings: PlanSettings) -> Plan:
        """The plan of the model with ``settings``. Raises :class:`PlanError` where nothing would become smaller."""
        if not self.fits(settings):
            raise PlanError("the rules name other layers or activations than the model was traced for: trace it again")
        made = (self.call, self.run, self.edits, self.narrowings, self.before)
        return plan_of(self.base, self.source.title, settings, *made)
