"""The first stage: every model traced once, and planned with all settings of the grid."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

from torch import nn

from kswap.errors import PlanError
from kswap.graph.random_state import preserved_random_state
from kswap.planner.counting import count_plan
from kswap.planner.plan import Plan
from kswap.planning import PlanSettings
from kswap.report.report import Change
from kswap.scans.settings import PlanningSettings
from kswap.scans.trial import Planned, Trial
from kswap.traced import TracedModel


@dataclass
class Planner:
    """Plans of one model. It is built and traced when the first plan is asked for."""

    model: str | nn.Module
    settings: PlanningSettings
    _traced: list[TracedModel] = field(default_factory=list, init=False)

    def trace(self, trial: Trial) -> None:
        """Build and trace the model as ``trial`` needs it. Raises :class:`kswap.errors.ModelError` where that fails."""
        with contextlib.suppress(PlanError), preserved_random_state():
            self._traced_for(self.settings.of(trial))

    def plan(self, trial: Trial) -> Plan:
        """The plan of ``trial``. Raises :class:`PlanError` where nothing can be replaced."""
        asked = self.settings.of(trial)
        with preserved_random_state():
            return self._traced_for(asked).plan(asked)

    def planned(self, trial: Trial) -> Planned:
        """The counts of ``trial``. Raises :class:`kswap.errors.ModelError` for a model that cannot be traced."""
        try:
            plan = self.plan(trial)
        except PlanError as error:
            nothing = Change(0, 0)
            return Planned(nothing, nothing, nothing, 0, 0, str(error))
        before, after = plan.before, count_plan(plan)
        return Planned(
            Change(before.params, after.params),
            Change(before.macs, after.macs),
            Change(before.operations // 2, after.operations // 2),
            len(plan.replaced),
            len(plan.sites),
        )

    def _traced_for(self, asked: PlanSettings) -> TracedModel:
        fitting = next((traced for traced in self._traced if traced.fits(asked)), None)
        if fitting is None:
            size, kwargs = self.settings.input_size, dict(self.settings.model_kwargs)
            fitting = TracedModel.of(self.model, kwargs, asked, self.settings.skip_strides, input_size=size)
            self._traced.append(fitting)
        return fitting
