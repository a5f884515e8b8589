"""The names of implementations in ``optimized.json`` of format 1, which kswap 0.1.0 wrote."""

from __future__ import annotations

import re
from typing import Any

from kswap.codec import encode
from kswap.errors import DeployError, excerpt
from kswap.nn.implementation import DENSE, ImplementationId

_LAYER = r"dense|(?:(?:spread|interleave), )?[1-9]\d{0,8} groups(?: and [1-9]\d{0,8} dense)?"
_BOTH = re.compile(rf"K ({_LAYER}); L ({_LAYER})", re.ASCII)
_COLLAPSED = re.compile(r"([1-9]\d{0,8}) groups of ([1-9]\d{0,8}), dense", re.ASCII)
_ALONE = re.compile(_LAYER, re.ASCII)


def implementation_named(form: object) -> ImplementationId:
    """The identifier of what format 1 called ``form``. Raises :class:`kswap.errors.DeployError` for other names.

    >>> str(implementation_named("K spread, 4 groups and 3 dense; L interleave, 5 groups"))
    'grouped.sum(k_extra=3,k_groups=4,k_spread=1,l_groups=5,l_interleave=1)'
    """
    text = form if isinstance(form, str) else ""
    if both := _BOTH.fullmatch(text):
        parameters = {f"k_{name}": n for name, n in _layer(both[1]).items()}
        parameters |= {f"l_{name}": n for name, n in _layer(both[2]).items()}
        return ImplementationId.of("grouped", "sum", **parameters)
    if collapsed := _COLLAPSED.fullmatch(text):
        return ImplementationId.of("grouped", "collapse", groups=int(collapsed[1]), height=int(collapsed[2]))
    if text == DENSE:
        return ImplementationId.of("grouped", DENSE)
    if _ALONE.fullmatch(text):
        return ImplementationId.of("grouped", "k", **_layer(text))
    raise DeployError(f"unknown form {excerpt(form)} in a file of kswap 0.1.0: optimise the model again")


def translated(record: Any) -> Any:
    """A record of format 1, parsed JSON, in the keys of format 2; anything else is returned unchanged."""
    if not isinstance(record, dict) or not isinstance(record.get("layers"), list):
        return record
    return {**record, "layers": [_translated_layer(layer) for layer in record["layers"]]}


def _translated_layer(layer: Any) -> Any:
    if not isinstance(layer, dict) or "form" not in layer:
        return layer
    new = {key: value for key, value in layer.items() if key != "form"}
    new["implementation"] = encode(implementation_named(layer["form"]))
    if isinstance(layer.get("seconds"), dict):
        new["seconds"] = {str(implementation_named(form)): value for form, value in layer["seconds"].items()}
    return new


def _layer(text: str) -> dict[str, int]:
    """The parameters of one layer: ``spread, 4 groups and 3 dense`` has 4 groups, a spread, and 3 extra filters."""
    if text == DENSE:
        return {"groups": 1}
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    parameters = {"groups": numbers[0]}
    if text.startswith(("spread", "interleave")):
        parameters[text.partition(",")[0]] = 1
    if len(numbers) == 2:
        parameters["extra"] = numbers[1]
    return parameters
