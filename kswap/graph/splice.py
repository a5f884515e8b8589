"""Putting the blocks in: a plan is carried out on the module tree of a model."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import nn

from kswap.errors import PlanError
from kswap.nn.block import Absorbed, PointwiseBlock
from kswap.nn.norms_and_activations import BY_NAME, is_activation, is_norm
from kswap.nn.pointwise import channels_of, kind_of, why_not_replaced
from kswap.planner.plan import Plan, SitePlan


def _find(model: nn.Module, name: str, fits: Callable[[nn.Module], bool], what: str) -> nn.Module:
    try:
        module = model.get_submodule(name)
    except AttributeError:
        raise PlanError(f"the plan does not fit this model: it has no module '{name}'") from None
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
    new = BY_NAME[plan.activation]() if plan.activation else None
    site = plan.site
    if plan.absorbs_norm and site.norm:
        norm = copy.deepcopy(_find(model, site.norm.name, is_norm, "a norm"))
    if not (plan.absorbs_activation and site.activation):
        return norm, None
    if site.activation.stays and plan.layer.l is None and new is None:
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
        activation = BY_NAME["relu"]()
    return norm, activation


def splice_(model: nn.Module, plan: Plan) -> dict[str, PointwiseBlock]:
    """Replace the planned layers of ``model`` in place; gives the new blocks by name.

    Norms and activations that a block takes in leave an identity where they were. New weights have torch's
    default initialisation (see :mod:`kswap.nn.init`). Raises :class:`PlanError`, before anything is changed,
    when the plan does not fit.
    """
    swaps: list[tuple[nn.Module, nn.Module]] = []
    blocks: dict[str, PointwiseBlock] = {}
    for site_plan in plan.replaced:
        layer = _layer(model, site_plan)
        norm, activation = _norm_and_activation(model, site_plan)
        block = PointwiseBlock(site_plan.layer, norm, activation, replaces=layer).train(model.training)
        blocks[site_plan.name] = block
        swaps.append((layer, block))
        swaps.extend((model.get_submodule(name), Absorbed(site_plan.name)) for name in _absorbed_names(site_plan))
    new_of = {id(old): new for old, new in swaps}
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is not None and id(child) in new_of:
                parent._modules[name] = new_of[id(child)]
    return blocks


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
