"""Conditions on a report, for ``--fail-if 'params.ratio > 20% and replaced < 40'``: parsed, never run as code.

A condition is a Python expression of numbers, ``true``, ``false``, paths, comparisons (``> >= < <= == !=``), ``and``,
``or``, ``not`` and parentheses; nothing else is allowed. A path is made of keys of the JSON report that lead to a
number or to true or false (``params.ratio``, ``drop_in``). A number may have underscores, an exponent and one suffix:
``%``, ``K``, ``M`` or ``G``.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from kswap.errors import ReportError, excerpt, nearest

Value = bool | int | float

OPERATORS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.GtE: operator.ge,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Gt: operator.gt,
    ast.Lt: operator.lt,
}
ALLOWED: tuple[type[ast.AST], ...] = (
    *OPERATORS,
    ast.Compare,
    ast.BoolOp,
    ast.And,
    ast.Or,
    ast.UnaryOp,
    ast.Not,
    ast.USub,
    ast.UAdd,
    ast.Attribute,
    ast.Name,
    ast.Load,
    ast.Constant,
)
SUFFIXES = {"": Decimal(1), "%": Decimal("0.01"), "K": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9)}
FLAGS = {"true": True, "false": False}
INSTEAD = {"&&": "and", "||": "or", "&": "and", "|": "or", "=": "==", "!": "not", "=>": ">=", "=<": "<=", "<>": "!="}
INSTEAD |= {word.upper(): word for word in ("and", "or", "not")}

LONGEST = 1000  # characters of a condition, so that no parser is asked for more
LONGEST_NUMBER = 40
LARGEST_EXPONENT = 30

NUMBER = re.compile(r"(?<![\w.])(\d[\d_]*(?:\.\d[\d_]*)?|\.\d[\d_]*)(?:[eE]([+-]?\d+))?[%KMGkmg]?(?![\w.%])")
TOKEN = re.compile(r"[\w.%]+|[<>=!&|]+|'[^']*'?|\"[^\"]*\"?|\S")


@dataclass(frozen=True)
class Condition:
    """A condition that has been read; ``numbers`` holds its numbers by the place where they stand.

    >>> condition = Condition.parse("params.ratio > 20% and not drop_in")
    >>> condition.paths
    ('params.ratio', 'drop_in')
    >>> condition.holds({"params": {"ratio": 0.3}, "drop_in": False})
    True
    """

    text: str
    tree: ast.expr
    numbers: Mapping[int, Value]

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read a condition. Raises :class:`ReportError` that says what cannot be read, and where."""
        text = text.strip()
        if not text:
            raise ReportError("the condition is empty; write one such as 'params.ratio > 0.2'")
        if len(text) > LONGEST:
            raise ReportError(f"the condition has {len(text):,} characters; write it in at most {LONGEST:,}")
        for token in TOKEN.finditer(text):
            if token[0] in INSTEAD:
                raise ReportError(
                    f"condition '{excerpt(text)}': write '{INSTEAD[token[0]]}' instead of '{token[0]}' at character "
                    f"{token.start() + 1}"
                )
        numbers = {match.start(): _number(match) for match in NUMBER.finditer(text)}
        # Python reads no suffixes: an identifier as long as the number stands for it, at the same place.
        python = NUMBER.sub(lambda match: "_" * len(match[0]), text)
        stray = re.search(r"(?<![\w.])\.?\d|[^ -~\t\n]|[#\\;]", python)
        if stray:
            raise _unreadable(text, stray.start())
        try:
            tree = ast.parse(re.sub(r"\s", " ", python), mode="eval").body
        except SyntaxError as error:
            raise _unreadable(text, (error.offset or len(text) + 1) - 1) from None
        except (RecursionError, MemoryError):
            raise ReportError("the condition is nested too deep; write it simpler") from None
        condition = cls(text, tree, numbers)
        condition._check_structure()
        return condition

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that the condition names, each once, in order."""
        return tuple(dict.fromkeys(self._paths(self.tree)))

    def check(self, blank: Mapping[str, Any] | None = None) -> Condition:
        """The condition itself, if every report can answer it.

        ``blank`` has the paths of what is asked instead, with any values. Raises :class:`ReportError` for a path that
        no report has, and for numbers compared with flags: all that :meth:`holds` would complain about, without a
        report.
        """
        self.holds(_blank() if blank is None else blank)
        return self

    def holds(self, figures: Mapping[str, Any]) -> bool:
        """Whether the condition is true of :meth:`Report.to_json` or other figures. Raises :class:`ReportError`."""
        return self._flag(self.tree, values_of(figures))

    def failure(self, figures: Mapping[str, Any]) -> str | None:
        """What is said where the condition holds, with the values that made it so; ``None`` where it does not."""
        if not self.holds(figures):
            return None
        values = values_of(figures)
        return f"Failed: {self.text} ({', '.join(f'{path} is {values[path]}' for path in self.paths)})"

    def _check_structure(self) -> None:
        for node in ast.walk(self.tree):
            fine = isinstance(node, ALLOWED)
            if isinstance(node, ast.Constant):
                fine = isinstance(node.value, bool)
            elif isinstance(node, ast.Attribute):
                fine = isinstance(node.value, ast.Attribute) or self._is_name(node.value)
            elif isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not):
                fine = self._is_number(node.operand)
            elif isinstance(node, ast.Compare):
                parts = [part for part in (node.left, *node.comparators) if isinstance(part, ast.BoolOp | ast.Compare)]
                if parts:
                    raise ReportError(
                        f"condition '{excerpt(self.text)}': '{self._source(parts[0])}' is compared; only numbers and "
                        "paths can be, and conditions are joined by and, or, not"
                    )
            if not fine:
                shown = f"'{self._source(node)}' is" if isinstance(node, ast.expr) else "there is"
                raise ReportError(
                    f"condition '{excerpt(self.text)}': {shown} more than a condition may hold: numbers, paths such as "
                    "params.ratio, comparisons, and, or, not"
                )

    def _is_number(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.col_offset in self.numbers

    def _is_name(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and not self._is_number(node)

    def _source(self, node: ast.expr) -> str:
        return excerpt(self.text[node.col_offset : node.end_col_offset], 40)

    def _paths(self, node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Attribute) or (isinstance(node, ast.Name) and self._is_name(node)):
            name = ast.unparse(node)
            if name not in FLAGS:
                yield name
            return
        for part in ast.iter_child_nodes(node):
            yield from self._paths(part)

    def _flag(self, node: ast.expr, values: Mapping[str, Value]) -> bool:
        """The value of a part that has to be true or false."""
        if isinstance(node, ast.BoolOp):
            # A list, not a generator: a mistake in a later part must show whatever the first part says.
            parts = [self._flag(part, values) for part in node.values]
            return all(parts) if isinstance(node.op, ast.And) else any(parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return not self._flag(node.operand, values)
        if isinstance(node, ast.Compare):
            return self._compare(node, values)
        value = self._operand(node, values)
        if not isinstance(value, bool):
            shown = self._source(node)
            raise ReportError(f"'{shown}' is a number; compare it with one, for example '{shown} > 0'")
        return value

    def _compare(self, node: ast.Compare, values: Mapping[str, Value]) -> bool:
        operands = [self._operand(part, values) for part in (node.left, *node.comparators)]
        for op, left, right in zip(node.ops, operands, operands[1:], strict=False):
            if isinstance(left, bool) != isinstance(right, bool):
                raise ReportError(f"'{self._source(node)}' compares a number with true or false")
            if isinstance(left, bool) and not isinstance(op, ast.Eq | ast.NotEq):
                raise ReportError(f"'{self._source(node)}' orders true and false; use == or !=")
        pairs = zip(node.ops, operands, operands[1:], strict=False)
        return all(OPERATORS[type(op)](left, right) for op, left, right in pairs)

    def _operand(self, node: ast.expr, values: Mapping[str, Value]) -> Value:
        """The value of a number, a flag or a path."""
        if isinstance(node, ast.Constant):
            return bool(node.value)
        if isinstance(node, ast.UnaryOp):
            if isinstance(node.op, ast.Not):
                return self._flag(node, values)
            value = self.numbers[node.operand.col_offset]
            return -value if isinstance(node.op, ast.USub) else value
        if self._is_number(node):
            return self.numbers[node.col_offset]
        path = ast.unparse(node)
        if path in FLAGS:
            return FLAGS[path]
        if path not in values:
            raise ReportError(f"the report has no number '{excerpt(path)}'{_near_paths(path, values)}")
        return values[path]


def _number(match: re.Match[str]) -> Value:
    text = match[0]
    if len(text) > LONGEST_NUMBER:
        raise ReportError(
            f"the number {excerpt(text, 20)} has {len(text):,} characters; at most {LONGEST_NUMBER} are read"
        )
    if match[2] and abs(int(match[2])) > LARGEST_EXPONENT:
        raise ReportError(f"the number {text} has an exponent beyond {LARGEST_EXPONENT}")
    suffix = text[-1].upper() if text[-1] in "%KMGkmg" else ""
    # Decimal, because 4.020358M is a whole number and 20% is 0.2, and float arithmetic gives neither.
    value = Decimal(text[: len(text) - len(suffix)]) * SUFFIXES[suffix]
    return int(value) if value == value.to_integral_value() else float(value)


def _unreadable(text: str, at: int) -> ReportError:
    """What is said of a text that cannot be read at the character with the index ``at``."""
    token = next((found for found in TOKEN.finditer(text) if found.end() > at), None)
    what = f"condition '{excerpt(text)}'"
    if token is None:
        return ReportError(f"{what} ends where a number or a path such as params.ratio is expected")
    return ReportError(
        f"{what} cannot be read at character {token.start() + 1}, '{excerpt(token[0], 40)}': expected are numbers, "
        "paths such as params.ratio, comparisons, and, or, not"
    )


def _near_paths(path: str, known: Iterable[str]) -> str:
    """A hint: paths that hold ``path`` as their first or last key, else those that are spelled alike, else all."""
    parts = [name for name in known if name.startswith(f"{path}.") or name.endswith(f".{path}")]
    if parts:
        return f"; did you mean {', '.join(parts)}?"
    return nearest(path[:LONGEST_NUMBER], known) or f"; known are {', '.join(known)}"


def values_of(report: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    """Numbers and flags of a JSON report by their dotted path; lists are ignored."""
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
    # Every command's help imports this file, and the report would bring the whole planner.
    from kswap.report.report import Change, Report

    none = Change(0, 0)
    return Report("", "", "", 1, "", (), none, none, none, none, drop_in=True, notes=()).to_json()


def known_paths() -> tuple[str, ...]:
    """The paths that a condition may name.

    >>> "params.ratio" in known_paths(), "drop_in" in known_paths()
    (True, True)
    """
    return tuple(values_of(_blank()))
