"""A plan carried out on a model, checked, and corrected where a run shows that a site cannot be replaced so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.utils._pytree import tree_map

from kswap.errors import PlanError
from kswap.graph.call import Call
from kswap.graph.clone import is_on_meta
from kswap.graph.device import device_of
from kswap.graph.initialisers import Initialiser
from kswap.graph.observe import Observation, is_shape, output_shapes
from kswap.graph.splice import Replacement, splice_, undo_
from kswap.graph.state_bytes import state_bytes
from kswap.graph.verify import check_run
from kswap.planner.counting import count_plan
from kswap.planner.plan import Plan
from kswap.planning import without
from kswap.progress import step
from kswap.report.report import Change, Sizes

_LINEAR = "placed linearly: the outputs of the model depend on which norms and activations it holds"


def operate_(
    model: nn.Module, planned: Plan, initialiser: Initialiser, call: Call, observation: Observation, replay: bool
) -> tuple[Plan, tuple[Replacement, ...]]:
    """Replace, initialise and check ``model`` in place; returns the plan that holds for it, and what was replaced.

    Sites whose layer is called past the registered modules are kept. Where the outputs change because norms and
    activations were absorbed, the blocks are placed linearly. A plan that is a ``replay`` is not corrected:
    :class:`PlanError` says what is wrong with it.
    """
    step("putting the blocks in")
    replacements = splice_(model, planned)
    step("drawing their weights")
    for done in replacements:
        initialiser.initialise(done)
    step("running the result once")
    wrong, found = _run(model, replacements, call, observation)
    if not wrong and found is None:
        return planned, replacements
    absorbing = [site.name for site in planned.replaced if site.absorbs_norm or site.absorbs_activation]
    if wrong and replay:
        name, reason = next(iter(wrong.items()))
        raise PlanError(f"the plan does not fit this model: '{name}' cannot be replaced: {reason}; keep it in the plan")
    if not wrong and (replay or not absorbing):
        raise PlanError(
            f"the converted model returns {found}, the original returned {observation.outputs}: it is not converted"
        )
    undo_(model, replacements)
    corrected = without(planned, wrong) if wrong else planned.place_linearly(absorbing, _LINEAR)
    return operate_(model, corrected, initialiser, call, observation, replay)


def _run(
    model: nn.Module, replacements: Sequence[Replacement], call: Call, observation: Observation
) -> tuple[dict[str, str], Any]:
    """Run the converted model once in eval mode.

    Returns the sites whose block did not run, or whose replaced layer still did, with the reason; and the shapes of
    the outputs where they are not those of the original.
    """
    if is_on_meta(model):
        return {}, None
    output, wrong = check_run(model, replacements, call.to(device_of(model)))
    found = output_shapes(output)
    if observation.real:  # a detector finds other boxes with other weights, of the same kind
        alike = _without_counts(found) == _without_counts(observation.outputs)
    else:
        alike = found == observation.outputs
    return wrong, None if alike else found


def _without_counts(shapes: Any) -> Any:
    """Output shapes without their first dimension, in the structure of the output."""
    return tree_map(lambda shape: shape[1:] if is_shape(shape) else shape, shapes, is_leaf=is_shape)


def sizes_of(model: nn.Module, planned: Plan, replacements: Sequence[Replacement], bytes_before: int) -> Sizes:
    """Bytes on disk of a converted model and of its sites, where the original had ``bytes_before``."""
    blocks = {
        done.name: Change(state_bytes(*done.gone_by_name.values()), state_bytes(done.block)) for done in replacements
    }
    layers = {site.name: state_bytes(model.get_submodule(site.name)) for site in planned.kept}
    kept = {name: Change(size, size) for name, size in layers.items()}
    return Sizes(Change(bytes_before, state_bytes(model)), blocks | kept)


def check_counts(model: nn.Module, planned: Plan) -> None:
    """Refuse a model that has not exactly the parameters that the plan promised (:class:`PlanError`)."""
    built = sum(p.numel() for p in model.parameters())
    promised = count_plan(planned).params
    if built != promised:
        raise PlanError(f"the plan does not fit this model: it promises {promised:,} parameters, built were {built:,}")
