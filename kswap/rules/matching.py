"""What a rule asks of a site: its name, role, type and channel numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from enum import IntEnum
from fnmatch import fnmatchcase
from typing import Any

from kswap.errors import RuleError
from kswap.planner.sites import ROLES, Site
from kswap.rules.checking import check_table, check_text, check_word

REGEX_PREFIX = "re:"


class Specificity(IntEnum):
    """How exactly a rule names a site; the higher one wins."""

    NO_NAME = 0
    GLOB = 1
    REGEX = 2
    EXACT = 3


def specificity(pattern: str) -> Specificity:
    """How exact a name pattern is.

    >>> specificity("blocks.*").name, specificity("re:blocks[.]0[.].+").name, specificity("conv_head").name
    ('GLOB', 'REGEX', 'EXACT')
    """
    if pattern.startswith(REGEX_PREFIX):
        return Specificity.REGEX
    return Specificity.GLOB if any(sign in pattern for sign in "*?[") else Specificity.EXACT


def names(pattern: str, name: str) -> bool:
    """Whether the pattern fits the whole of a qualified name. Case counts.

    >>> names("blocks.6.*", "blocks.6.0.conv_pw"), names("re:blocks[.][0-5][.].+", "blocks.6.0.conv_pw")
    (True, False)
    """
    kind = specificity(pattern)
    if kind is Specificity.REGEX:
        return re.fullmatch(pattern.removeprefix(REGEX_PREFIX), name) is not None
    return fnmatchcase(name, pattern) if kind is Specificity.GLOB else name == pattern


@dataclass(frozen=True)
class Range:
    """Channel numbers from ``min`` to ``max``, both included; ``None`` leaves that end open."""

    min: int | None = None
    max: int | None = None

    def __post_init__(self) -> None:
        for value in (self.min, self.max):
            if value is not None and (type(value) is not int or value < 1):
                raise RuleError(f"a number of channels must be a whole number of at least 1, not {value!r}")
        if self.min is None and self.max is None:
            raise RuleError("a range of channels needs min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise RuleError(f"a range of channels from {self.min} to {self.max} holds nothing; exchange min and max")

    def holds(self, channels: int) -> bool:
        return (self.min is None or self.min <= channels) and (self.max is None or channels <= self.max)

    def to_json(self) -> int | dict[str, int]:
        if self.min is not None and self.min == self.max:
            return self.min
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}

    @classmethod
    def from_json(cls, value: Any, what: str) -> Range:
        """Read ``64`` or ``{"min": 64, "max": 512}``. Raises :class:`RuleError` for anything else."""
        if not isinstance(value, dict):
            return cls(value, value) if value is not None else cls()
        return cls(**check_table(value, (f.name for f in fields(cls)), what))


@dataclass(frozen=True)
class Match:
    """The conditions of a rule. A site has to meet all that are stated, and any one word of a tuple."""

    name: tuple[str, ...] = ()
    role: tuple[str, ...] = ()
    type: tuple[str, ...] = ()
    in_channels: Range | None = None
    out_channels: Range | None = None

    def __post_init__(self) -> None:
        if not self.stated:
            raise RuleError("its match is empty, and would mean every site; put the keys at the head of the file")
        for label in ("name", "role", "type"):
            for word in getattr(self, label):
                if not check_text(word, f"{label} in match"):
                    raise RuleError(f"{label} in match must not be empty text")
        for role in self.role:
            check_word(role, ROLES, "role in match")
        for pattern in self.name:
            if pattern.startswith(REGEX_PREFIX):
                try:
                    re.compile(pattern.removeprefix(REGEX_PREFIX))
                except (re.error, OverflowError, RecursionError) as error:
                    raise RuleError(f"'{pattern}' is not a valid regular expression: {error}") from error

    @property
    def stated(self) -> tuple[str, ...]:
        """The conditions that this match states, by key."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name) not in (None, ()))

    def meets(self, site: Site, key: str) -> bool:
        """Whether the site meets the condition under one stated key."""
        wanted = getattr(self, key)
        if key == "name":
            return any(names(pattern, site.name) for pattern in wanted)
        value = getattr(site, key)
        return wanted.holds(value) if isinstance(wanted, Range) else value in wanted

    def specificity(self, site: Site) -> Specificity | None:
        """How exactly this match names the site (by its most exact pattern that fits); ``None``: no match.

        >>> Match(name=("conv_head", "blocks.*")).specificity(Site("blocks.0", 8, 8)).name
        'GLOB'
        """
        if not all(self.meets(site, key) for key in self.stated):
            return None
        fitting = (specificity(pattern) for pattern in self.name if names(pattern, site.name))
        return max(fitting, default=Specificity.NO_NAME)

    def to_json(self) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key in self.stated:
            value = getattr(self, key)
            if isinstance(value, Range):
                plain[key] = value.to_json()
            else:
                plain[key] = value[0] if len(value) == 1 else list(value)
        return plain

    @classmethod
    def from_json(cls, data: Any) -> Match:
        """Read the ``match`` table of a rule. Raises :class:`RuleError` for anything else."""
        parts = dict(check_table(data, (f.name for f in fields(cls)), "match"))
        for key, value in parts.items():
            if key in ("in_channels", "out_channels"):
                parts[key] = Range.from_json(value, f"{key} in match")
            elif isinstance(value, list):
                if not value:
                    raise RuleError(f"{key} in match is an empty list; name something, or leave it out")
                parts[key] = tuple(value)
            else:
                parts[key] = (value,)
        return cls(**parts)
