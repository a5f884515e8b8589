"""Putting the blocks in: a plan is carried out on the module tree of a model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from kswap.errors import PlanError, excerpt
from kswap.graph.modes import copy_modes_
from kswap.graph.replace import replace_modules_
from kswap.nn import Absorbed, PointwiseBlock, build_block
from kswap.nn.norms_and_activations import ACTIVATION_CLASSES, is_activation, is_norm
from kswap.nn.pointwise import channels_of, kind_of, why_not_replaced
from kswap.planner.plan import Plan
from kswap.planner.site_plan import SitePlan
from kswap.planner.sites import AbsorbedLayer


def _find(model: nn.Module, name: str, fits: Callable[[nn.Module], bool], what: str) -> nn.Module:
    try:
        module = model.get_submodule(name)
    except AttributeError:
        raise PlanError(f"the plan does not fit this model: it has no module '{excerpt(name)}'") from None
    if not fits(module):
        raise PlanError(f"the plan does not fit this model: '{name}' is a {type(module).__name__}, not {what}")
    return module


def _layer(model: nn.Module, plan: SitePlan) -> nn.Module:
    layer = _find(model, plan.name, _is_pointwise_layer, "a pointwise convolution")
    found, planned = channels_of(layer), (plan.site.in_channels, plan.site.out_channels)
    if found != planned:
        raise PlanError(
            f"the plan does not fit this model: '{plan.name}' has channels {found[0]} -> {found[1]}, "
            f"planned were {planned[0]} -> {planned[1]}"
        )
    reason = why_not_replaced(layer)
    if reason:
        raise PlanError(f"the plan does not fit this model: '{plan.name}' cannot be replaced: {reason}")
    return layer


def _is_pointwise_layer(module: nn.Module) -> bool:
    return kind_of(module) is not None


def _norm_and_activation(model: nn.Module, plan: SitePlan) -> tuple[nn.Module | None, nn.Module | None]:
    """Copies of what the block takes in, with the activation exchanged where the plan says so."""
    norm: nn.Module | None = None
    activation: nn.Module | None = None
    new = ACTIVATION_CLASSES[plan.activation]() if plan.activation else None
    site = plan.site
    if plan.absorbs_norm and site.norm:
        norm = copy.deepcopy(_find(model, site.norm.name, is_norm, "a norm"))
    if not (plan.absorbs_activation and site.activation):
        return norm, None
    if site.activation.stays and plan.layer.copies == 1 and new is None:
        return norm, None  # the call that remains does it, and would spoil the gradient of one inside if in place
    if site.norm and norm is not None and site.activation.name == f"{site.norm.name}.act":
        if new is not None:
            norm.act = new
        return norm, None
    if new is not None:
        activation = new
    elif site.activation.name and not site.activation.stays:  # one that stays may carry hooks
        activation = copy.deepcopy(_find(model, site.activation.name, is_activation, "an activation"))
    else:
        activation = ACTIVATION_CLASSES["relu"]()
    return norm, activation


@dataclass(frozen=True)
class Replacement:
    """One site after the surgery: what was there, and the block that is there now.

    ``layer``, ``norm`` and ``activation`` are the modules of the original, with their weights; ``norm`` and
    ``activation`` are ``None`` where none follows the layer, or where it is called as a function. Whether the block
    has taken them in is said by ``plan``.
    """

    plan: SitePlan
    layer: nn.Module
    norm: nn.Module | None
    activation: nn.Module | None
    block: PointwiseBlock

    @property
    def name(self) -> str:
        """The qualified name of the site."""
        return self.plan.name

    @property
    def gone_by_name(self) -> dict[str, nn.Module]:
        """The modules of the original that the surgery takes out of the model, by their qualified names."""
        found = {self.name: self.layer}
        for absorbed, module in ((self.plan.site.norm, self.norm), (self.plan.site.activation, self.activation)):
            if absorbed is not None and module is not None and absorbed.name in _absorbed_names(self.plan):
                found[absorbed.name] = module
        return found

    @property
    def gone(self) -> tuple[nn.Module, ...]:
        """The values of :attr:`gone_by_name`."""
        return tuple(self.gone_by_name.values())


def splice_(model: nn.Module, plan: Plan) -> tuple[Replacement, ...]:
    """Replace the planned layers of ``model`` in place, and return what was replaced, in the order of the plan.

    Norms and activations that a block takes in leave a :class:`kswap.nn.Absorbed` where they were. New weights have
    torch's default initialisation; see :mod:`kswap.graph.initialisers`. Raises :class:`PlanError`, before anything
    is changed, when the plan does not fit.
    """
    replacements = tuple(_replacement(model, site_plan) for site_plan in plan.replaced)
    for site_plan in plan.kept:  # a name that was misspelt in an edited plan
        _find(model, site_plan.name, lambda _: True, "")
    put_(model, *replacements)
    return replacements


def put_(model: nn.Module, *replacements: Replacement) -> None:
    """Replace, in place, what ``replacements`` say; :func:`undo_` puts it back."""
    new_of: dict[nn.Module, nn.Module] = {}
    for done in replacements:
        layer, *absorbed = done.gone
        new_of[layer] = done.block
        new_of |= {module: Absorbed(done.name) for module in absorbed}
    replace_modules_(model, new_of)


def undo_(model: nn.Module, replacements: Sequence[Replacement]) -> None:
    """Put back what :func:`splice_` replaced, in place."""
    old_of: dict[nn.Module, nn.Module] = {}
    for done in replacements:
        old_of[done.block] = done.layer
        for name, module in list(done.gone_by_name.items())[1:]:
            old_of[model.get_submodule(name)] = module
    replace_modules_(model, old_of)


def _replacement(model: nn.Module, plan: SitePlan) -> Replacement:
    layer = _layer(model, plan)
    norm, activation = _norm_and_activation(model, plan)
    block = build_block(plan.layer, norm, activation, replaces=layer).train(layer.training)
    for stage in block.stages:  # a norm that was frozen by itself stays frozen
        for source, copied in ((norm, stage.norm), (activation, stage.activation)):
            if source is not None and copied is not None:
                copy_modes_(source, copied)
    return Replacement(plan, layer, _module_of(model, plan.site.norm), _module_of(model, plan.site.activation), block)


def _module_of(model: nn.Module, absorbed: AbsorbedLayer | None) -> nn.Module | None:
    return model.get_submodule(absorbed.name) if absorbed is not None and absorbed.name else None


def _absorbed_names(plan: SitePlan) -> list[str]:
    """The modules that the block takes in and that have to go from where they were."""
    names = []
    if plan.absorbs_norm and plan.site.norm:
        names.append(plan.site.norm.name)
    activation = plan.site.activation
    if plan.absorbs_activation and activation and not activation.stays:
        inside_norm = plan.site.norm is not None and activation.name.startswith(f"{plan.site.norm.name}.")
        if not inside_norm:
            names.append(activation.name)
    return names
