"""Frozen dataclasses as JSON values, and back, checked.

One pair of functions instead of a ``to_json`` and a ``from_json`` written by hand for each value:
:func:`encode` writes the fields of a dataclass in their order, :func:`decode` reads them by their type hints. What
is read may come from a stranger: types are strict, sizes are bounded, and every mistake is one sentence that says
where the value is.

Field types: ``int``, ``float``, ``str``, ``bool``, ``None``, ``Any`` (any JSON value), unions, ``Literal``, enums,
``tuple``, ``list``, ``Mapping`` and ``dict`` with text keys, dataclasses, and ``Annotated[int, Between(1, 64)]``.
A class with ``to_json`` and ``from_json`` of its own is asked for them.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, Union

from kswap.errors import KswapError, excerpt, nearest

T = TypeVar("T")

# What no file of kswap comes near: the largest plans hold a few thousand sites.
MOST_ITEMS = 100_000
MOST_CHARACTERS = 100_000
_LARGEST = 2**63 - 1

_METADATA = "kswap.codec"
_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "null"}


@dataclass(frozen=True)
class Between:
    """A bound on numbers, both ends included: ``Annotated[int, Between(1, 64)]``."""

    least: float
    most: float


@dataclass(frozen=True)
class _Stored:
    """How a field is stored, where that is not under its own name."""

    key: str | None = None
    old: tuple[str, ...] = ()
    skip: bool = False


def stored(key: str | None = None, old: Sequence[str] = (), skip: bool = False) -> dict[str, Any]:
    """Metadata of a dataclass field: ``field(metadata=stored(key="from", old=("source",)))``.

    Args:
        key: the name in JSON, where it is not the field's.
        old: names that earlier versions wrote, which are read too.
        skip: neither written nor read; the field keeps its default.
    """
    return {_METADATA: _Stored(key, tuple(old), skip)}


def encode(value: Any) -> Any:
    """``value`` as JSON values: a dataclass becomes a table, a tuple a list.

    A dataclass writes the properties that its class variable ``json_properties`` names after its fields;
    :func:`decode` ignores them. Raises :class:`TypeError` for a type that JSON does not have.

    >>> encode(Between(1, 2))
    {'least': 1, 'most': 2}
    """
    if value is None or (isinstance(value, bool | int | float | str) and not isinstance(value, enum.Enum)):
        return value
    if isinstance(value, enum.Enum):
        return encode(value.value)
    if hasattr(value, "from_json"):
        return value.to_json()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        written = {key: encode(getattr(value, f.name)) for f, key, _ in _fields_of(type(value))}
        return written | {name: encode(getattr(value, name)) for name in _properties_of(type(value))}
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")


def decode(
    kind: type[T], data: Any, what: str, error: type[KswapError] = KswapError, ignore_unknown: bool = False
) -> T:
    """The value of type ``kind`` that ``data``, parsed JSON, holds.

    Args:
        kind: the type to read, mostly a dataclass.
        data: what :func:`json.loads` returned.
        what: what the data is, for messages: "the benchmark".
        error: the class of the exception for anything that does not fit.
        ignore_unknown: whether keys that no field has are ignored; otherwise they are refused.

    >>> decode(Between, {"least": 1, "most": 2}, "the bound")
    Between(least=1.0, most=2.0)
    >>> decode(Between, {"least": 1, "mots": 2}, "the bound")
    Traceback (most recent call last):
    kswap.errors.KswapError: the bound has an unknown key 'mots'; did you mean most?
    >>> decode(Between, {"least": 1, "most": "2"}, "the bound")
    Traceback (most recent call last):
    kswap.errors.KswapError: most of the bound must be a number, not '2'
    """
    value: T = _Decoder(what, error, ignore_unknown).read(kind, data, "")
    return value


@dataclass(frozen=True)
class _Decoder:
    what: str
    error: type[KswapError]
    ignore_unknown: bool

    def refuse(self, path: str, message: str) -> KswapError:
        return self.error(f"{f'{excerpt(path)} of ' if path else ''}{self.what} {message}")

    def read(self, kind: Any, data: Any, path: str) -> Any:
        origin = typing.get_origin(kind)
        if kind is Any:
            return data
        if origin is Annotated:
            inner, *bounds = typing.get_args(kind)
            return self._bounded(self.read(inner, data, path), bounds, path)
        if origin is Union or origin is types.UnionType:
            return self._union(kind, data, path)
        if origin is Literal:
            if not any(type(data) is type(word) and data == word for word in typing.get_args(kind)):
                raise self._wrong(kind, data, path)
            return data
        if origin in (tuple, list) or kind in (tuple, list):
            return self._sequence(kind, origin or kind, data, path)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return self._mapping(kind, data, path)
        if hasattr(kind, "from_json"):
            return self._own(lambda: kind.from_json(data), path)
        if dataclasses.is_dataclass(kind):
            return self._table(kind, data, path)
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            found = next((m for m in kind if type(m.value) is type(data) and m.value == data), None)
            if found is None:
                raise self._wrong(kind, data, path)
            return found
        return self._plain(kind, data, path)

    def _plain(self, kind: Any, data: Any, path: str) -> Any:
        if kind is float and type(data) is int:
            data = float(data) if abs(data) <= _LARGEST else math.inf
        if kind not in _WORDS or type(data) is not kind:
            raise self._wrong(kind, data, path)
        if kind is float and not math.isfinite(data):
            raise self.refuse(path, "must be a finite number")
        if kind is int and abs(data) > _LARGEST:
            raise self.refuse(path, f"must not be larger than {_LARGEST:,}")
        if kind is str and len(data) > MOST_CHARACTERS:
            raise self.refuse(path, f"must have at most {MOST_CHARACTERS:,} characters, not {len(data):,}")
        return data

    def _bounded(self, value: Any, bounds: Iterable[Any], path: str) -> Any:
        for bound in bounds:
            if isinstance(bound, Between) and not bound.least <= value <= bound.most:
                raise self.refuse(path, f"must be between {bound.least:,} and {bound.most:,}, not {value:,}")
        return value

    def _union(self, kind: Any, data: Any, path: str) -> Any:
        others = [inner for inner in typing.get_args(kind) if inner is not type(None)]
        if data is None and len(others) < len(typing.get_args(kind)):
            return None
        if len(others) == 1 and not (others[0] in _WORDS and type(data) is not others[0]):
            return self.read(others[0], data, path)
        for inner in others:
            try:
                return self.read(inner, data, path)
            except KswapError:
                continue
        raise self._wrong(kind, data, path)

    def _sequence(self, kind: Any, make: type, data: Any, path: str) -> Any:
        if not isinstance(data, list | tuple):
            raise self._wrong(kind, data, path)
        self._count(data, path)
        kinds = typing.get_args(kind) or (Any, ...)
        if make is tuple and kinds[-1] is not ...:
            if len(data) != len(kinds):
                raise self.refuse(path, f"must be a list of {len(kinds)}, not of {len(data)}")
        else:
            kinds = (kinds[0],) * len(data)
        numbered = enumerate(zip(kinds, data, strict=True))
        return make(self.read(inner, item, f"{path}[{i}]") for i, (inner, item) in numbered)

    def _mapping(self, kind: Any, data: Any, path: str) -> Any:
        if not isinstance(data, Mapping):
            raise self._wrong(kind, data, path)
        self._count(data, path)
        key_kind, item_kind = typing.get_args(kind)
        return {self.read(key_kind, key, path): self.read(item_kind, data[key], _join(path, key)) for key in data}

    def _table(self, kind: Any, data: Any, path: str) -> Any:
        if not isinstance(data, Mapping):
            raise self._wrong(kind, data, path)
        stored_fields = _fields_of(kind)
        known = [*_properties_of(kind), *(name for _, key, old in stored_fields for name in (key, *old))]
        unknown = next((key for key in data if key not in known), None)
        if unknown is not None and not self.ignore_unknown:
            raise self.refuse(path, f"has an unknown key '{excerpt(unknown, 40)}'{nearest(str(unknown), known)}")
        hints = _hints_of(kind)
        values: dict[str, Any] = {}
        for field, key, old in stored_fields:
            found = next((name for name in (key, *old) if name in data), None)
            if found is not None:
                values[field.name] = self.read(hints[field.name], data[found], _join(path, found))
            elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                raise self.refuse(path, f"lacks {key}")
        return self._own(lambda: kind(**values), path)

    def _own(self, make: Callable[[], Any], path: str) -> Any:
        """What ``make`` returns; an error of its own checks says where the value is."""
        try:
            return make()
        except KswapError as error:
            if isinstance(error, self.error):
                raise
            raise self.refuse(path, f"cannot be read: {error}") from error

    def _count(self, data: Any, path: str) -> None:
        if len(data) > MOST_ITEMS:
            raise self.refuse(path, f"must have at most {MOST_ITEMS:,} entries, not {len(data):,}")

    def _wrong(self, kind: Any, data: Any, path: str) -> KswapError:
        return self.refuse(path, f"must be {_words(kind)}, not {_shown(data)}")


def _join(path: str, key: object) -> str:
    return f"{path}.{excerpt(key, 40)}" if path else excerpt(key, 40)


def _words(kind: Any) -> str:
    """What a type is called in a message."""
    origin = typing.get_origin(kind)
    if kind in _WORDS:
        return _WORDS[kind]
    if origin is Annotated:
        return _words(typing.get_args(kind)[0])
    if origin is Union or origin is types.UnionType:
        return " or ".join(_words(inner) for inner in typing.get_args(kind))
    if origin is Literal:
        return "one of " + ", ".join(str(word) for word in typing.get_args(kind))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "one of " + ", ".join(str(member.value) for member in kind)
    return "a list" if origin in (tuple, list) or kind in (tuple, list) else "a table"


def _shown(data: object) -> str:
    """A value of a file in a message: short, and never the inside of a container."""
    if isinstance(data, Mapping):
        return "a table"
    if isinstance(data, list | tuple):
        return "a list"
    if isinstance(data, int) and abs(data) > _LARGEST:  # Python refuses to write very long numbers
        return "a very large number"
    if data is None or isinstance(data, bool):
        return {None: "null", True: "true", False: "false"}[data]
    return excerpt(repr(data[:60] if isinstance(data, str) else data), 60)


@functools.cache
def _fields_of(kind: type) -> tuple[tuple[dataclasses.Field[Any], str, tuple[str, ...]], ...]:
    """The fields of a dataclass that are stored, each with its key and its old keys."""
    found = []
    for field in dataclasses.fields(kind):
        how = field.metadata.get(_METADATA, _Stored(skip=not field.init))
        if not how.skip:
            found.append((field, how.key or field.name, how.old))
    return tuple(found)


def _properties_of(kind: type) -> tuple[str, ...]:
    return tuple(getattr(kind, "json_properties", ()))


@functools.cache
def _hints_of(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)
