"""The codec: what it writes it reads, and what does not fit is one sentence that says where."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kswap.codec import MOST_CHARACTERS, MOST_ITEMS, Between, decode, encode, stored
from kswap.errors import ModelError, PlanError


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Part:
    name: str
    size: Annotated[int, Between(1, 64)] = 1


@dataclass(frozen=True)
class Whole:
    json_properties: ClassVar = ("total",)

    label: str
    count: int
    share: float
    on: bool
    parts: tuple[Part, ...]
    pair: tuple[str, float] = ("a", 1.0)
    note: str | None = None
    word: Literal["x", "y"] = "x"
    colour: Colour = Colour.RED
    times: Mapping[str, float] = field(default_factory=dict)
    value: int | str = 0
    source: str = field(default="", metadata=stored(key="from", old=("origin",)))
    cache: int = field(default=0, metadata=stored(skip=True))

    def __post_init__(self) -> None:
        if self.count == 13:
            raise PlanError("13 is not allowed")

    @property
    def total(self) -> int:
        return sum(part.size for part in self.parts)


WHOLE = Whole("a", 2, 0.5, True, (Part("p", 3), Part("q")), times={"t": 1e-9}, source="s", cache=7)


def plain(**changes: Any) -> Any:
    return json.loads(json.dumps(encode(WHOLE))) | changes


def read(data: Any, **kwargs: Any) -> Whole:
    return decode(Whole, data, "the thing", ModelError, **kwargs)


def test_round_trip_through_text() -> None:
    assert plain()["from"] == "s"
    assert plain()["total"] == 4
    assert "cache" not in plain()
    assert read(plain()) == dataclasses.replace(WHOLE, cache=0)


def test_old_keys_and_defaults_are_read() -> None:
    data = plain()
    data["origin"] = data.pop("from")
    del data["pair"]
    assert read(data) == dataclasses.replace(WHOLE, cache=0)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a bool is no int": ({"count": True}, "count of the thing must be a whole number, not true"),
    "a float is no int": ({"count": 2.0}, "count of the thing must be a whole number, not 2.0"),
    "a bool is no float": ({"share": False}, "share of the thing must be a number, not false"),
    "NaN": ({"share": math.nan}, "share of the thing must be a finite number"),
    "infinity": ({"times": {"t": math.inf}}, "times.t of the thing must be a finite number"),
    "a huge int": ({"count": 10**5000}, "count of the thing must not be larger than"),
    "a huge int as float": ({"share": 10**5000}, "share of the thing must be a finite number"),
    "an int as text": ({"label": 1}, "label of the thing must be a text, not 1"),
    "a long text": ({"label": "a" * (MOST_CHARACTERS + 1)}, "label of the thing must have at most"),
    "many items": ({"parts": [None] * (MOST_ITEMS + 1)}, "parts of the thing must have at most"),
    "no list": ({"parts": {}}, "parts of the thing must be a list, not a table"),
    "no table": ({"parts": [[]]}, r"parts\[0\] of the thing must be a table, not a list"),
    "out of bounds": ({"parts": [{"name": "a", "size": 65}]}, r"parts\[0\].size of the thing must be between 1 and 64"),
    "an inner key": ({"parts": [{"size": 2}]}, r"parts\[0\] of the thing lacks name"),
    "another length": ({"pair": ["a"]}, "pair of the thing must be a list of 2, not of 1"),
    "an unknown word": ({"word": "z"}, "word of the thing must be one of x, y, not 'z'"),
    "an unhashable word": ({"word": []}, "word of the thing must be one of x, y, not a list"),
    "an unknown colour": ({"colour": ["red"]}, "colour of the thing must be one of red, blue, not a list"),
    "null": ({"label": None}, "label of the thing must be a text, not null"),
    "neither": ({"value": 1.5}, "value of the thing must be a whole number or a text, not 1.5"),
    "an optional": ({"note": 3}, "note of the thing must be a text or null, not 3"),
    "an unknown key": ({"lable": "a"}, "the thing has an unknown key 'lable'; did you mean label?"),
    "a check of its own": ({"count": 13}, "the thing cannot be read: 13 is not allowed"),
    "escapes": ({"\x1b[31m": 1}, r"the thing has an unknown key '\\x1b\[31m'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_one_sentence(case: str) -> None:
    changes, message = WRONG[case]
    with pytest.raises(ModelError, match=f"^{message}") as error:
        read(plain(**changes))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_unknown_keys_are_ignored_where_asked() -> None:
    assert read(plain(more=1), ignore_unknown=True) == dataclasses.replace(WHOLE, cache=0)


def test_what_json_has_not_is_refused() -> None:
    with pytest.raises(TypeError, match="object cannot be written"):
        encode({"a": object()})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(key=st.sampled_from(sorted(plain())), value=VALUES)
def test_any_json_is_read_or_refused(key: str, value: Any) -> None:
    data = plain(**{key: value})
    with contextlib.suppress(ModelError):
        found = read(data)
        assert read(json.loads(json.dumps(encode(found)))) == found
