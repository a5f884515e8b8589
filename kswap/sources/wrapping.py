"""The state dict inside of what trainers save around it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import TypeVar

Value = TypeVar("Value")

# Keys under which trainers keep the weights; averaged weights first, as timm reads them.
WRAPPERS = (
    "state_dict_ema",
    "model_ema",
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "module",
)

# What DistributedDataParallel, torch.compile, Lightning modules and common trainers put before the names.
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")

# No trainer nests deeper; a file may hold itself.
_DEEPEST = 4


def unwrapped(content: Mapping[str, object]) -> tuple[Mapping[str, object], tuple[str, ...]]:
    """The innermost state dict, and the keys that lead to it.

    >>> unwrapped({"epoch": 3, "state_dict": {"fc.weight": 1}})
    ({'fc.weight': 1}, ('state_dict',))
    """
    path: list[str] = []
    while len(path) < _DEEPEST:
        key = next((key for key in WRAPPERS if isinstance(content.get(key), Mapping) and content[key]), None)
        if key is None:
            break
        inner = content[key]
        assert isinstance(inner, Mapping)
        content = inner
        path.append(key)
    return content, tuple(path)


def without_prefix(state: Mapping[str, Value], names: Collection[str]) -> dict[str, Value]:
    """``state`` without the prefix of :data:`PREFIXES` under which most of ``names`` are found.

    With a prefix, what is not under it is left out: it belongs to the trainer (a loss, a count of averaged steps).
    Compiled parts inside the model (``layer1._orig_mod.conv``) are found under their own names.

    >>> without_prefix({"module.fc.weight": 1, "n_averaged": 2}, ["fc.weight"])
    {'fc.weight': 1}
    >>> without_prefix({"model.0.weight": 1}, ["model.0.weight"])
    {'model.0.weight': 1}
    """
    found: Counter[str] = Counter()
    for name in state:
        for prefix in _prefixes_of(name):
            found[prefix] += _of_the_model(name.removeprefix(prefix)) in names
    best = max(found, key=lambda prefix: (found[prefix], -len(prefix)), default="")
    return {_of_the_model(name.removeprefix(best)): value for name, value in state.items() if name.startswith(best)}


def _prefixes_of(name: str) -> Iterator[str]:
    """The empty prefix and every chain of prefixes that ``name`` begins with."""
    end = 0
    yield ""
    while step := next((prefix for prefix in PREFIXES if name.startswith(prefix, end)), ""):
        end += len(step)
        yield name[:end]


def _of_the_model(name: str) -> str:
    return name.replace("._orig_mod.", ".")
