"""Whether a converted model really runs its blocks, and nothing that they replaced."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import nn

from kswap.errors import PlanError, first_line
from kswap.graph.call import Call
from kswap.graph.clone import sharing_clone
from kswap.graph.splice import Replacement
from kswap.nn.block import Absorbed

_ADVICE = "a list, dict, alias or function that holds the replaced module calls it past the model's own modules"


@contextmanager
def _counting(modules: Iterable[nn.Module]) -> Iterator[Counter[nn.Module]]:
    """Count the calls of ``modules`` inside; the hooks are taken off again."""
    calls: Counter[nn.Module] = Counter()

    def note(module: nn.Module, _args: Any) -> None:
        calls[module] += 1

    handles = [module.register_forward_pre_hook(note) for module in modules]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def check_run(model: nn.Module, replacements: Sequence[Replacement], call: Call) -> tuple[Any, dict[str, str]]:
    """The result of ``call`` on a copy of ``model``, which is converted, and the sites at which it went wrong.

    The copy has the same parameters and is in eval mode. At a site, the block must run, and neither the replaced layer
    nor what the block took in may. The value for a site is the reason to keep it, for the reader. Raises
    :class:`PlanError` where the run fails and no site is to blame.
    """
    clone, copies = sharing_clone(model)

    def both(module: nn.Module) -> tuple[nn.Module, nn.Module]:
        found = copies.get(id(module), module)
        return module, found if isinstance(found, nn.Module) else module

    watched = (part for done in replacements for module in (done.block, *done.gone) for part in both(module))
    try:
        with torch.no_grad(), _counting(dict.fromkeys(watched)) as calls:
            result = call.on(clone.eval())
    except Exception as error:
        wrong = _refusing(error, replacements, both)
        if not wrong:
            raise PlanError(
                f"the converted {type(model).__name__} does not run ({type(error).__name__}: {first_line(error)}): "
                "keep the layers that its forward pass asks about, with rules (keep = true)"
            ) from error
        return None, wrong

    def ran(module: nn.Module) -> bool:
        return any(calls[part] for part in both(module))

    wrong = {}
    for done in replacements:
        still = [name for name, module in done.gone_by_name.items() if ran(module)]
        if still:
            wrong[done.name] = f"{still[0]} would still run after the surgery: {_ADVICE}"
        elif not ran(done.block):
            wrong[done.name] = f"its block would not run: {_ADVICE}"
    return result, wrong


def called_in_training(model: nn.Module, replacements: Sequence[Replacement], call: Call) -> dict[str, str]:
    """Sites of a converted ``model`` whose replaced modules still run in training mode, with the reason.

    Changes the running statistics of ``model``, which is a trial copy; one that does not run so has no such site.
    """
    gone = dict.fromkeys(module for done in replacements for module in done.gone)
    with torch.no_grad(), _counting(gone) as calls, suppress(Exception):
        call.on(model.train())
    return {
        done.name: f"{name} would still run in training mode after the surgery: {_ADVICE}"
        for done in replacements
        for name, module in done.gone_by_name.items()
        if calls[module]
    }


def _refusing(
    error: Exception, replacements: Sequence[Replacement], both: Callable[[nn.Module], tuple[nn.Module, nn.Module]]
) -> dict[str, str]:
    """The sites whose block a forward pass refused with ``error``.

    An attribute that is missing names its block. For any other error it is the blocks of the module whose forward
    pass raised it, which asks for a class, for one.
    """
    said = f"the forward pass refuses a block in its place ({type(error).__name__}: {first_line(error)})"
    asked = getattr(error, "obj", None)
    traces = list(traceback.walk_tb(error.__traceback__))
    frames = [asked, *(frame.f_locals.get("self") for frame, _ in reversed(traces))]
    for holder in frames:
        if not isinstance(holder, nn.Module):
            continue
        children = {id(child) for child in holder.children()} | {id(holder)}
        absorbed = {child.into for child in (holder, *holder.children()) if isinstance(child, Absorbed)}
        found = [
            done.name
            for done in replacements
            if done.name in absorbed or any(id(part) in children for part in both(done.block))
        ]
        if found:
            return dict.fromkeys(found, said)
    return {}


def holds_unregistered_modules(model: nn.Module) -> bool:
    """Whether a module of ``model`` is also held where the surgery cannot reach it: in a plain list, dict or alias.

    >>> model = nn.Sequential(nn.ReLU())
    >>> holds_unregistered_modules(model)
    False
    >>> model.steps = [model[0]]
    >>> holds_unregistered_modules(model)
    True
    """
    own = set(model.modules())
    return any(found in own for module in own for value in _attributes(module) for found in _modules_in(value))


def _attributes(module: nn.Module) -> Iterator[Any]:
    plain = ("_modules", "_parameters", "_buffers")
    return (value for name, value in vars(module).items() if name not in plain)


def _modules_in(value: Any, depth: int = 3) -> Iterator[nn.Module]:
    """Modules in nested plain containers, and those that methods and partial functions are bound to."""
    if isinstance(value, nn.Module):
        yield value
    elif depth and isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _modules_in(item, depth - 1)
    elif depth and isinstance(value, dict):
        for item in value.values():
            yield from _modules_in(item, depth - 1)
    elif depth and callable(value):
        bound = (getattr(value, "__self__", None), getattr(value, "func", None), getattr(value, "args", ()))
        cells = [cell.cell_contents for cell in getattr(value, "__closure__", None) or () if _is_filled(cell)]
        for item in (*bound, *cells):
            if item is not None and item is not value:
                yield from _modules_in(item, depth - 1)


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty cell raises
    except ValueError:
        return False
    return True
