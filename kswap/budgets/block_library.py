"""Everything that may become of the sites of a trained network, with costs and damage, made once for all budgets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from kswap.budgets.costed import KEPT, block_choice, costed_units, kept_choice
from kswap.budgets.inputs import LayerInputs, covariance_bytes, layer_inputs
from kswap.budgets.narrowed import Scored, with_narrower
from kswap.budgets.narrower import Narrower
from kswap.budgets.options import changeable, options_of
from kswap.budgets.scoring import OutputChange, change_with, check_scoring, evenly, interpolated
from kswap.errors import PlanError
from kswap.graph.call import Call
from kswap.graph.modes import evaluating
from kswap.graph.state_bytes import state_bytes
from kswap.planner.block_plan import BlockPlan
from kswap.planner.budget import Budget, Cost
from kswap.planner.choices import Choice, Unit, undominated
from kswap.planner.counting import count_plan
from kswap.planner.knapsack import Solution, check_reach, solve
from kswap.planner.narrowing import Narrowing, describe_narrowings
from kswap.planner.plan import Counts, Plan
from kswap.planner.site_plan import SitePlan
from kswap.planning import PlanSettings
from kswap.progress import progress_bar
from kswap.projection.kinds import fit

# Bytes of covariances that one pass over the samples may keep; networks with more of them are passed several times.
_MOST_BYTES = 2**30


@dataclass(frozen=True)
class Library:
    """Units and their choices for one network, from which plans for any budget are made in no time.

    ``plan`` is that of the network with everything kept. ``units`` are mostly single sites; a unit may span several
    (see :class:`kswap.planner.choices.Unit`), and its choices may narrow the network between them, as ``narrower``
    knows it. ``original`` is what the whole network costs. ``shapes`` are the shapes of the inputs of the layers at
    batch 1, by name.

    Costs of blocks are those in linear placement: norm and activation stay where they are.
    """

    plan: Plan
    units: tuple[Unit, ...]
    original: Cost
    samples: int
    scoring: str
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    narrower: tuple[Narrower, ...] = ()

    def with_seconds(self, seconds: Mapping[str, Mapping[str, float]], whole: float) -> Library:
        """The same library with measured times, which a budget of ``latency`` needs.

        Args:
            seconds: of each choice of each unit, by the unit's name and the choice's label.
            whole: seconds of the whole original in the same runtime. Where the layers of the units take longer by
                themselves than the whole network does, all their times are scaled to its time.

        Raises :class:`PlanError` for a choice without a time.
        """
        for unit in self.units:
            missing = [c.label for c in unit.choices if c.label not in seconds.get(unit.name, {})]
            if missing:
                raise PlanError(f"the choice '{missing[0]}' of '{unit.name}' has no measured time")
        alone = sum(seconds[unit.name][unit.kept.label] for unit in self.units)
        scale = min(1.0, whole / alone) if alone > 0 else 1.0
        units = tuple(
            replace(
                unit,
                choices=tuple(
                    replace(c, cost=replace(c.cost, seconds=scale * seconds[unit.name][c.label])) for c in unit.choices
                ),
            )
            for unit in self.units
        )
        return replace(self, units=units, original=replace(self.original, seconds=whole))

    def solve(self, budget: str | Budget | Sequence[str]) -> Solution:
        """The choices with the least damage within ``budget``. Raises :class:`PlanError` where there are none."""
        return solve(self.units, Budget.of(budget), self.original)

    def plan_for(self, budget: str | Budget | Sequence[str]) -> Plan:
        """A plan like any other, within ``budget``: every reason says what was chosen by which budget.

        The counts of the assembled plan are held against the budget. Raises :class:`PlanError`.
        """
        asked = Budget.of(budget)
        solution = self.solve(asked)
        chosen = {name: choice for choice in solution.choices for name in choice.sites}
        named = {name for unit in self.units for choice in unit.choices for name in choice.sites}
        sites = []
        for site in self.plan.sites:
            if site.name in chosen:
                choice = chosen[site.name]
                error = "" if choice.error is None else f", error {choice.error:.2g}"
                reason = f"budget {asked}: {choice.label}{error}"
                sites.append(replace(choice.sites[site.name], reason=reason))
            else:
                sites.append(replace(site, reason=f"budget {asked}: {KEPT}") if site.name in named else site)
        narrowings = tuple(narrowing for choice in solution.choices for narrowing in choice.narrowings)
        count = sum(len(unit.choices) for unit in self.units)
        how = "change of the outputs" if self.scoring == "outputs" else "error of the fits"
        note = f"blocks chosen from {count} by the budget {asked}: least {how} on {self.samples} samples"
        made = replace(
            self.plan,
            sites=tuple(sites),
            narrowings=narrowings,
            narrowed=self._narrowed(narrowings),
            notes=(*self.plan.notes, *describe_narrowings(narrowings), note),
        )
        self._check(made, asked, solution)
        return made

    def _narrowed(self, narrowings: Sequence[Narrowing]) -> Counts | None:
        """Counts of the network after ``narrowings``: they are linear in the channels."""
        counts = self.plan.before
        per_channel = {narrower.hidden: narrower.per_channel for narrower in self.narrower}
        for narrowing in narrowings:
            each, gone = per_channel[narrowing.hidden], narrowing.hidden.width - narrowing.channels
            counts = Counts(
                counts.params - gone * each.params,
                counts.trainable_params - gone * each.trainable_params,
                counts.macs - gone * each.macs,
                counts.operations - gone * each.operations,
            )
        return counts if narrowings else None

    def _check(self, made: Plan, budget: Budget, solution: Solution) -> None:
        counts = count_plan(made)
        per_parameter = (self.original.bytes - solution.cost.bytes) / max(
            self.original.params - solution.cost.params, 1
        )
        size = round(self.original.bytes - per_parameter * (self.original.params - counts.params))
        found = Cost(counts.params, counts.macs, size, solution.cost.seconds)
        broken = budget.exceeded_by(found, self.original)
        if broken is not None:
            raise PlanError(
                f"the assembled plan has {broken.shown(found.of(broken.quantity))} and the budget {broken} allows "
                f"{broken.shown(broken.most(self.original))}: report this as a fault of kswap"
            )


def library_of(
    model: nn.Module,
    plan: Plan,
    settings: PlanSettings,
    batches: Sequence[Call],
    scoring: str = "outputs",
    seed: int = 0,
    progress: bool = True,
    narrower: Sequence[Narrower] = (),
    budget: Budget | None = None,
) -> Library:
    """The library of ``model``: blocks of every kind for every site that rules let change, fitted and scored.

    Fits are to the original's own inputs and outputs, each site by itself.

    Args:
        model: the trained original, with the edits of ``plan`` made; it is unchanged.
        plan: of :func:`kswap.planning.plan_of` for ``settings``.
        settings: says by its rules which sites stay.
        batches: calibration samples, without labels.
        scoring: ``"outputs"`` (see :class:`kswap.budgets.scoring.OutputChange`; a few blocks of each site are put in,
            and the scores of the others are interpolated by their errors), or ``"error"``, the relative error of each
            fit, which needs one pass over the samples only.
        seed: of the fits; the same seed gives the same library.
        progress: whether to draw a bar.
        narrower: hidden channels that may become fewer, where both the layer that makes them and the one that reads
            them can change; see :func:`kswap.budgets.narrower.narrower_of`.
        budget: refused before anything is fitted where its parameters, MACs or bytes are out of reach.

    Raises :class:`PlanError` where no site can change, or the budget is out of reach.
    """
    check_scoring(scoring)
    sites = changeable(plan, settings)
    if not sites:
        raise PlanError("a budget has nothing to choose from: rules or structure keep every pointwise layer")
    base = plan.keep({site.name: KEPT for site in sites})
    units: dict[str, Unit] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    names = {site.name for site in sites}
    used = {n.hidden.projection: n for n in narrower if {n.hidden.expansion, *n.names} <= names}
    original = Cost(plan.before.params, plan.before.macs, state_bytes(model))
    counted = [limit for limit in budget.limits if limit.quantity != "latency"] if budget is not None else []
    if counted:
        widths = {name: _element_bytes(model.get_submodule(name)) for name in names}
        check_reach(costed_units(sites, used.values(), widths), counted, original)
    waiting: dict[str, Scored] = {}  # expansions, until their projections come
    expansions = {n.hidden.expansion for n in used.values()}
    with torch.no_grad(), evaluating(model), progress_bar("fitting blocks", len(sites), shown=progress) as bar:
        for group in _groups(model, sites):
            known = layer_inputs(model, list(group), batches, seed)
            calls = {name: own.calls for name, own in known.items()}
            outputs = OutputChange.of(model, batches, calls) if scoring == "outputs" and calls else None
            for name, own in known.items():
                if outputs is not None:
                    outputs.stop_at(name)
                layer = model.get_submodule(name)
                waiting[name] = _scored(group[name], own, layer, outputs, seed)
                units[name] = waiting[name].unit
                shapes[name] = (1, *own.shape[1:])
                if name in used:
                    _join_(units, used[name], waiting, outputs, _element_bytes(layer), seed)
                if name not in expansions:
                    del waiting[name]
                bar.advance(note=name)
    samples = sum(len(call.tensors[0]) for call in batches)
    return Library(base, tuple(units.values()), original, samples, scoring, shapes, tuple(used.values()))


def _join_(
    units: dict[str, Unit],
    narrower: Narrower,
    scored: Mapping[str, Scored],
    outputs: OutputChange | None,
    element_bytes: int,
    seed: int,
) -> None:
    """Put one unit in the place of those whose layers hold the same hidden channels, in place."""
    hidden = narrower.hidden
    gates = [name for name in narrower.names if name not in (hidden.expansion, hidden.projection)]
    if hidden.expansion not in scored or not units.keys() >= set(gates):
        return  # a forward pass in another order than that of the modules
    first, last = scored[hidden.expansion], scored[hidden.projection]
    joined = with_narrower(narrower, first, last, [units[name] for name in gates], outputs, element_bytes, seed)
    for name in (hidden.expansion, hidden.projection, *gates):
        del units[name]
    units[joined.name] = joined


def _element_bytes(layer: nn.Module) -> int:
    return next(p.element_size() for p in layer.parameters())


def _groups(model: nn.Module, sites: Sequence[SitePlan]) -> Iterator[dict[str, SitePlan]]:
    """The sites by name, as many at a time as :data:`_MOST_BYTES` of covariances allow, at least one."""
    group: dict[str, SitePlan] = {}
    size = 0
    for site in sites:
        own = covariance_bytes(model.get_submodule(site.name))
        if group and size + own > _MOST_BYTES:
            yield group
            group, size = {}, 0
        group[site.name] = site
        size += own
    yield group


def _scored(site: SitePlan, known: LayerInputs, layer: nn.Module, outputs: OutputChange | None, seed: int) -> Scored:
    """The choices of one site; options that another one of their kind equals or beats are dropped."""
    width = _element_bytes(layer)
    options = options_of(site.site)
    measured = set(evenly(len(options))) if outputs is not None else set()
    moments = known.moments()
    fitted: list[tuple[BlockPlan, float]] = []
    points: list[tuple[float, float]] = []
    for place, option in enumerate(options):
        found = fit(option, known.weight, moments, seed)
        error = moments.error(found.matrix)
        fitted.append((found.plan, error))
        if outputs is not None and place in measured:
            points.append((error, change_with(outputs, site.name, found.matrix, known)))
    errors = [error for _, error in fitted]
    scores = interpolated(errors, points) if outputs is not None else errors
    kept = kept_choice(site, width)
    by_kind: dict[str, tuple[Choice, ...]] = {}
    for (layer_plan, error), score in zip(fitted, scores, strict=True):
        choice = block_choice(site.site, layer_plan, width, float(score), error)
        by_kind[layer_plan.kind] = (*by_kind.get(layer_plan.kind, (kept,)), choice)
    useful = [choice for own in by_kind.values() for choice in undominated(own)[1:]]
    return Scored(Unit(site.name, (kept, *useful)), known, points)
