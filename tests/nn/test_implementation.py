"""Identifiers of implementations: one text each, read strictly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kswap.codec import decode, encode
from kswap.errors import DeployError
from kswap.nn.implementation import Cost, ImplementationId

WORDS = st.from_regex(r"[a-z][a-z0-9_-]{0,11}", fullmatch=True)


@given(WORDS, WORDS, st.dictionaries(WORDS, st.integers(0, 999_999_999), max_size=4))
def test_text_and_json_are_read_again(kind: str, method: str, parameters: dict[str, int]) -> None:
    id_ = ImplementationId(kind, method, tuple(sorted(parameters.items())))
    assert ImplementationId.parse(str(id_)) == id_
    assert decode(ImplementationId, encode(id_), "the implementation", DeployError) == id_
    assert all(id_[name] == number for name, number in parameters.items())


@pytest.mark.parametrize(
    "text",
    [
        "dense",
        "8 groups",
        "K 8 groups; L dense",
        "grouped.k()",
        "grouped.k(groups)",
        "grouped.k(groups=-1)",
        "grouped.k(groups=08)",
        "grouped.k(groups=١)",
        "grouped.k(groups=4,groups=4)",
        "grouped.k(spread=1,groups=4)",
        "grouped.k(groups=4 )",
        "grouped.k(groups=4)\n",
        "grouped.k(groups=99999999999999999999)",
        "Grouped.k",
        "",
        None,
        4,
        ["grouped.k"],
    ],
)
def test_other_texts_are_refused(text: object) -> None:
    with pytest.raises(DeployError, match="no identifier of an implementation"):
        ImplementationId.parse(text)


@pytest.mark.parametrize(
    "data",
    [
        "grouped.dense",
        {"kind": "grouped", "method": "dense"} | {"parameter": []},
        {"kind": "grouped", "method": 4},
        {"kind": "grouped", "method": "k", "parameters": [["groups", True]]},
        {"kind": "grouped", "method": "k", "parameters": [["groups", -4]]},
        {"kind": "grouped", "method": "k", "parameters": [["spread", 1], ["groups", 4]]},
    ],
)
def test_other_json_is_refused(data: object) -> None:
    with pytest.raises(DeployError):
        decode(ImplementationId, data, "the implementation", DeployError)


def test_costs_add_up() -> None:
    assert Cost(3, 4) + Cost(10, 20) == Cost(13, 24)
    assert Cost(0, 2).estimate > Cost(10, 1).estimate > Cost(5, 1).estimate
