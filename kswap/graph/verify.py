"""Whether a converted model really runs its blocks, and nothing that they replaced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from kswap.graph.splice import Replacement

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


def check_run(replacements: Sequence[Replacement], run: Callable[[], Any]) -> tuple[Any, dict[str, str]]:
    """The result of ``run``, a forward pass of the converted model, and the sites at which it went wrong.

    At a site, the block must run, and neither the replaced layer nor what the block took in may. The value for a
    site is the reason to keep it, for the reader.
    """
    watched = dict.fromkeys(module for done in replacements for module in (done.block, *done.gone))
    with _counting(watched) as calls:
        result = run()
    wrong: dict[str, str] = {}
    for done in replacements:
        still = [name for name, module in done.gone_by_name.items() if calls[module]]
        if still:
            wrong[done.name] = f"{still[0]} would still run after the surgery: {_ADVICE}"
        elif not calls[done.block]:
            wrong[done.name] = f"its block would not run: {_ADVICE}"
    return result, wrong


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
