"""Conditions on a report, for ``--fail-if 'params.ratio > 20% and replaced < 40'``: parsed, never run as code.

    condition  := all ("or" all)*
    all        := single ("and" single)*
    single     := "not" single | "(" condition ")" | operand [op operand]
    operand    := number | "true" | "false" | path
    op         := > >= < <= == !=

A path is made of keys of the JSON report that lead to a number or to true or false (``params.ratio``,
``drop_in``). A number may have underscores, an exponent and one suffix: ``%``, ``K``, ``M`` or ``G``.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from kswap.errors import ReportError, nearest
from kswap.report.report import Change, Report

Value = bool | int | float

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
SUFFIXES = {"": Decimal(1), "%": Decimal("0.01"), "K": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9)}
WORDS = ("and", "or", "not")
INSTEAD = {"&&": "and", "||": "or", "&": "and", "|": "or", "=": "==", "!": "not", "=>": ">=", "=<": "<=", "<>": "!="}
DEEPEST = 50  # parentheses and nots inside each other
LARGEST_EXPONENT = 30

TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>[+-]?(?:\d[\d_]*(?:\.\d[\d_]*)?|\.\d[\d_]*)(?:[eE][+-]?\d{1,9})?[%KMGkmg]?(?![\w.%]))
      | (?P<word>[A-Za-z_][\w.]*)
      | (?P<sign>[()]|[<>=!&|]+)
      | (?P<other>\S+)
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Number:
    """A number, or true or false, as it stands in the condition."""

    value: Value

    def of(self, report: Mapping[str, Any]) -> Value:
        return self.value


@dataclass(frozen=True)
class Path:
    """A dotted key of the JSON report."""

    keys: str

    def of(self, report: Mapping[str, Any]) -> Value:
        known = values_of(report)
        if self.keys not in known:
            raise ReportError(f"the report has no number '{self.keys}'{_near_paths(self.keys, known)}")
        return known[self.keys]


Operand = Number | Path


def _near_paths(keys: str, known: Iterable[str]) -> str:
    """A hint: paths that hold ``keys`` as their first or last key, else those that are spelled alike, else all."""
    parts = [path for path in known if path.startswith(f"{keys}.") or path.endswith(f".{keys}")]
    return f"; did you mean {', '.join(parts)}?" if parts else nearest(keys, known) or f"; known are {', '.join(known)}"


@dataclass(frozen=True)
class Comparison:
    left: Operand
    op: str
    right: Operand

    def holds(self, report: Mapping[str, Any]) -> bool:
        left, right = self.left.of(report), self.right.of(report)
        if isinstance(left, bool) != isinstance(right, bool):
            raise ReportError(f"'{self}' compares a number with true or false")
        if isinstance(left, bool) and self.op not in ("==", "!="):
            raise ReportError(f"'{self}' orders true and false; use == or !=")
        return OPERATORS[self.op](left, right)

    def __str__(self) -> str:
        return f"{_shown(self.left)} {self.op} {_shown(self.right)}"


@dataclass(frozen=True)
class Flag:
    """An operand that stands alone, and so has to be true or false."""

    operand: Operand

    def holds(self, report: Mapping[str, Any]) -> bool:
        value = self.operand.of(report)
        if not isinstance(value, bool):
            shown = _shown(self.operand)
            raise ReportError(f"'{shown}' is a number; compare it with one, for example '{shown} > 0'")
        return value


@dataclass(frozen=True)
class Negation:
    part: Node

    def holds(self, report: Mapping[str, Any]) -> bool:
        return not self.part.holds(report)


@dataclass(frozen=True)
class Combination:
    """Parts joined by ``and`` (``combine`` is ``all``) or by ``or`` (``any``)."""

    combine: Callable[[Iterable[bool]], bool]
    parts: tuple[Node, ...]

    def holds(self, report: Mapping[str, Any]) -> bool:
        # A list, not a generator: a mistake in a later part must come to light whatever the first one says.
        return self.combine([part.holds(report) for part in self.parts])


Node = Comparison | Flag | Negation | Combination


def _shown(operand: Operand) -> str:
    if isinstance(operand, Path):
        return operand.keys
    return str(operand.value).lower() if isinstance(operand.value, bool) else f"{operand.value:g}"


def values_of(report: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    """Numbers and flags of a JSON report by their dotted path; lists are passed over."""
    found: dict[str, Value] = {}
    for key, value in report.items():
        if isinstance(value, bool | int | float):
            found[f"{prefix}{key}"] = value
        elif isinstance(value, Mapping):
            found |= values_of(value, f"{prefix}{key}.")
    return found


@cache
def _blank() -> dict[str, Any]:
    """The JSON of a report about nothing: it has every key that a report has."""
    none = Change(0, 0)
    return Report("", "", "", 1, "", (), none, none, none, none, (), True, ()).to_json()


def known_paths() -> tuple[str, ...]:
    """The paths that a condition may name.

    >>> "params.ratio" in known_paths(), "drop_in" in known_paths()
    (True, True)
    """
    return tuple(values_of(_blank()))


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    at: int  # the first character is 1


def _number(text: str) -> Value:
    suffix = text[-1].upper() if text[-1] in "%KMGkmg" else ""
    # Decimal, because 4.020358M is a whole number and 20% is 0.2, and float arithmetic gives neither.
    value = Decimal(text[: len(text) - len(suffix)]) * SUFFIXES[suffix]
    return int(value) if value == value.to_integral_value() else float(value)


class _Reader:
    """Reads a condition from left to right. One reader, one text; it is thrown away afterwards."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = [
            Token(str(match.lastgroup), match.group(str(match.lastgroup)), match.start(str(match.lastgroup)) + 1)
            for match in TOKEN.finditer(text.rstrip())
        ]
        self.next = 0
        self.depth = 0

    @property
    def token(self) -> Token:
        if self.next < len(self.tokens):
            return self.tokens[self.next]
        return Token("end", "", len(self.text.rstrip()) + 1)

    def error(self, wanted: str) -> ReportError:
        token = self.token
        found = f"but found {token.text!r} at character {token.at}" if token.kind != "end" else "but it ends there"
        word = token.text.lower()
        instead = INSTEAD.get(word) or (word if word in WORDS and word != token.text else None)
        hint = f"; write '{instead}' instead" if instead else ""
        return ReportError(f"condition {self.text!r}: expected {wanted}, {found}{hint}")

    def take(self, *texts: str) -> str | None:
        """The next token's text if it is one of ``texts``, and step behind it."""
        if self.token.kind != "end" and self.token.text in texts:
            self.next += 1
            return self.tokens[self.next - 1].text
        return None

    def whole(self) -> Node:
        node = self.joined()
        if self.token.kind != "end":
            raise self.error("'and', 'or' or the end")
        return node

    def joined(self) -> Node:
        return self._combination(any, "or", self.all_of)

    def all_of(self) -> Node:
        return self._combination(all, "and", self.single)

    def _combination(self, combine: Callable[[Iterable[bool]], bool], word: str, part: Callable[[], Node]) -> Node:
        parts = [part()]
        while self.take(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Combination(combine, tuple(parts))

    def single(self) -> Node:
        opened = self.take("not", "(")
        if opened is None:
            return self.comparison()
        self.depth += 1
        if self.depth > DEEPEST:
            raise ReportError(f"the condition is nested more than {DEEPEST} deep; write it simpler")
        if opened == "not":
            node: Node = Negation(self.single())
        else:
            node = self.joined()
            if not self.take(")"):
                raise self.error("')'")
        self.depth -= 1
        return node

    def comparison(self) -> Node:
        left = self.operand()
        op = self.take(*OPERATORS)
        if op is None:
            if self.token.kind == "sign" and self.token.text not in "()":
                raise self.error(f"one of {' '.join(OPERATORS)}")
            return Flag(left)
        return Comparison(left, op, self.operand())

    def operand(self) -> Operand:
        token = self.token
        if token.kind == "number":
            exponent = re.search(r"[eE]([+-]?\d+)", token.text)
            if exponent and abs(int(exponent[1])) > LARGEST_EXPONENT:
                raise self.error(f"an exponent of at most {LARGEST_EXPONENT}")
            self.next += 1
            return Number(_number(token.text))
        if token.kind == "word" and token.text.lower() not in WORDS:
            self.next += 1
            return Number(token.text == "true") if token.text in ("true", "false") else Path(token.text)
        raise self.error("a number or a path such as params.ratio")


def _paths(node: Node) -> list[str]:
    match node:
        case Comparison(left, _, right):
            return [operand.keys for operand in (left, right) if isinstance(operand, Path)]
        case Flag(operand):
            return [operand.keys] if isinstance(operand, Path) else []
        case Negation(part):
            return _paths(part)
        case Combination(_, parts):
            return [keys for part in parts for keys in _paths(part)]


@dataclass(frozen=True)
class Condition:
    """A condition that has been read.

    >>> condition = Condition.parse("params.ratio > 20% and not drop_in")
    >>> condition.paths
    ('params.ratio', 'drop_in')
    >>> condition.holds({"params": {"ratio": 0.3}, "drop_in": False})
    True
    """

    text: str
    node: Node

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read a condition. Raises :class:`ReportError` that says what was expected, and where."""
        if not text.strip():
            raise ReportError("the condition is empty; write one such as 'params.ratio > 0.2'")
        return cls(text, _Reader(text).whole())

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that the condition names, each once, in order."""
        return tuple(dict.fromkeys(_paths(self.node)))

    def check(self) -> Condition:
        """The condition itself, if every report can answer it.

        Raises :class:`ReportError` for a path that no report has, and for numbers compared with flags: all
        that :meth:`holds` would complain about, without a report.
        """
        self.holds(_blank())
        return self

    def holds(self, report_json: Mapping[str, Any]) -> bool:
        """Whether the condition is true of :meth:`Report.to_json`. Raises :class:`ReportError`."""
        return self.node.holds(report_json)
