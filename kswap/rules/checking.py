"""The checks that every table of a rule file goes through."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kswap.errors import RuleError, nearest


def check_table(value: object, known: Iterable[str], what: str) -> dict[str, Any]:
    """``value`` as a table that holds known keys only. Raises :class:`RuleError`."""
    known = tuple(known)
    if not isinstance(value, dict):
        raise RuleError(f"{what} must be a table, not {value!r}")
    for key in value:
        if key not in known:
            raise RuleError(f"unknown key '{key}' in {what}: known are {', '.join(known)}{nearest(str(key), known)}")
    return value


def check_text(value: object, what: str) -> str:
    """``value`` as text. Raises :class:`RuleError`."""
    if not isinstance(value, str):
        raise RuleError(f"{what} must be text, not {value!r}")
    return value


def check_word(value: object, known: Iterable[str], what: str) -> str:
    """``value`` as one of the known words. Raises :class:`RuleError`."""
    known = tuple(known)
    if not isinstance(value, str) or value not in known:
        raise RuleError(f"{what} must be one of {', '.join(known)}, not {value!r}{nearest(str(value), known)}")
    return value


def check_flag(value: object, what: str) -> bool:
    """``value`` as true or false. Raises :class:`RuleError`."""
    if not isinstance(value, bool):
        raise RuleError(f"{what} must be true or false, not {value!r}")
    return value


def toml_text(value: object) -> str:
    """``value`` on one line, much as a rule file has it.

    >>> toml_text({"name": ["a", "b.*"], "in_channels": {"min": 64}})
    "{name = ['a', 'b.*'], in_channels = {min = 64}}"
    """
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)
