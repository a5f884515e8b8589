"""An optimizer follows the surgery: it lets go of what was replaced, and takes in what came instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from kswap.errors import ModelError
from kswap.nn.block import LAYER, NORM, Absorbed, PointwiseBlock
from kswap.nn.norms_and_activations import is_norm


def check_optimizer(optimizer: Optimizer, model: nn.Module | str) -> None:
    """Refuse an optimizer that is not one of ``model``'s parameters, and say what to pass (:class:`ModelError`)."""
    if not isinstance(optimizer, Optimizer):
        raise ModelError(f"optimizer must be a torch.optim.Optimizer, not a {type(optimizer).__name__}")
    if isinstance(model, str):
        raise ModelError(f"an optimizer belongs to a module: build '{model}' first, and pass that with its optimizer")
    own = {id(parameter) for parameter in model.parameters()}
    if not any(id(parameter) in own for group in optimizer.param_groups for parameter in group["params"]):
        raise ModelError("the optimizer holds no parameter of this model: make it from model.parameters() first")


def follow_(optimizer: Optimizer, old_model: nn.Module, new_model: nn.Module) -> None:
    """Make ``optimizer``, of ``old_model``, the optimizer of ``new_model``, its conversion; in place.

    A parameter that both models have, by its name, keeps its place, its group and its state. Those of a
    replaced layer and of the norm and activation that its block took in leave, with their state; the block's
    enter the same groups, each in the place of its counterpart (so that a norm's scale stays in a group
    without weight decay). What the optimizer holds beside ``old_model`` stays. Groups, learning rates and
    schedulers are left as they are. Raises :class:`ModelError` for an optimizer of another model.

    >>> import kswap, torch
    >>> model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Conv2d(64, 64, 1), nn.Conv2d(64, 9, 3))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> converted = kswap.convert(model, input_size=(8, 8)).model
    >>> follow_(optimizer, model, converted)
    >>> set(optimizer.param_groups[0]["params"]) == set(converted.parameters())
    True
    """
    check_optimizer(optimizer, old_model)
    names = {id(parameter): name for name, parameter in old_model.named_parameters()}
    successors = _successors(old_model, new_model)
    for group in optimizer.param_groups:
        places = [_place(parameter, names, successors) for parameter in group["params"]]
        for old, place in zip(group["params"], places, strict=True):
            _hand_over_(optimizer, old, names.get(id(old)), place)
        if "param_names" in group:
            group["param_names"] = [
                name or label for label, place in zip(group["param_names"], places, strict=True) for name, _ in place
            ]
        group["params"][:] = [new for place in places for _, new in place]


# Parameters of the new model that replace one of the old model, with their names.
Place = list[tuple[str | None, nn.Parameter]]


def _place(old: nn.Parameter, names: dict[int, str], successors: dict[str, Place]) -> Place:
    """What comes in the place of ``old``: itself, if it is not of the old model."""
    name = names.get(id(old))
    return [(None, old)] if name is None else successors.get(name, [])


def _successors(old_model: nn.Module, new_model: nn.Module) -> dict[str, Place]:
    """For each parameter of the old model, by name: those of the new model that come in its place."""
    before = {name for name, _ in old_model.named_parameters()}
    taken_in = _taken_in(old_model, new_model)
    blocks = {name: module for name, module in new_model.named_modules() if isinstance(module, PointwiseBlock)}
    successors: dict[str, Place] = {}
    for name, parameter in new_model.named_parameters():
        old_name = name if name in before else _counterpart(name, blocks, taken_in)
        if old_name is not None and parameter.requires_grad:
            successors.setdefault(old_name, []).append((name, parameter))
    return successors


def _taken_in(old_model: nn.Module, new_model: nn.Module) -> dict[tuple[str, bool], str]:
    """Names of what blocks took in: by the block's name, and ``True`` for its norm, ``False`` for its activation."""
    return {
        (module.into, is_norm(old_model.get_submodule(name))): name
        for name, module in new_model.named_modules()
        if isinstance(module, Absorbed)
    }


def _counterpart(
    name: str, blocks: Mapping[str, PointwiseBlock], taken_in: Mapping[tuple[str, bool], str]
) -> str | None:
    """The parameter of the old model that ``name``, a parameter of a block, stands for."""
    block = next((block for block in blocks if name.startswith(f"{block}.")), None)
    if block is None:
        return None
    part, rest = blocks[block].part_of(name.removeprefix(f"{block}."))
    source = block if part == LAYER else taken_in.get((block, part == NORM))
    return None if source is None else f"{source}.{rest}"


def _hand_over_(optimizer: Optimizer, old: nn.Parameter, name: str | None, place: Place) -> None:
    """Give the state of ``old`` to the parameter of the same name and shape; drop it where there is none."""
    if name is None:
        return
    state = optimizer.state.pop(old, None)
    same = next((new for new_name, new in place if new_name == name and new.shape == old.shape), None)
    if state and same is not None:
        optimizer.state[same] = {key: _moved(value, old, same) for key, value in state.items()}


def _moved(value: Any, old: Tensor, new: Tensor) -> Any:
    """A value of the state on the device of the new parameter, if it was on that of the old one."""
    beside = isinstance(value, Tensor) and value.shape == old.shape and value.device == old.device
    return value.to(new.device) if beside else value
