"""Conditions for ``--fail-if``."""

from __future__ import annotations

import string
import warnings
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kswap.errors import ReportError
from kswap.report.condition import Condition, known_paths
from kswap.report.report import Report


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("params.ratio > 0.2", False),
        ("params.ratio < 20%", True),
        ("params.after == 623_226", True),
        ("params.after == 623.226K", True),
        ("params.before == 4.020358M", True),
        ("params.before >= 4.1e6", False),
        ("macs.before > 0.3g", True),
        ("params.after != params.before", True),
        ("0.2 > params.ratio", True),
        ("replaced <= 54", False),
        ("replaced > -1", True),
        ("50 < replaced < 60", True),
        ("50 < replaced < 54", False),
        ("(replaced) > (50)", True),
        ("drop_in == True", True),
        (" \n drop_in\n and\tdrop_in ", True),
        ("not drop_in == false", True),
        ("replaced > +1", True),
        ("drop_in == not false", None),
        ("replaced>54 and(kept==9)", True),
        ("drop_in", True),
        ("not drop_in", False),
        ("not not drop_in", True),
        ("drop_in == false", False),
        ("drop_in != false", True),
        ("true", True),
        ("false", False),
        ("false and false or true", True),
        ("true or false and false", True),
        ("(true or false) and false", False),
        ("not false and false", False),
        ("not (false and false)", True),
        ("not replaced > 3 or kept > 3", True),
        ("ch == 16", True),
        ("params.ratio > .1", True),
    ],
)
def test_conditions(sample_report: Report, text: str, holds: bool | None) -> None:
    if holds is None:
        with pytest.raises(ReportError, match="cannot be read at character"):
            Condition.parse(text)
    else:
        assert Condition.parse(text).check().holds(sample_report.to_json()) is holds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the condition is empty"),
        ("  ", "the condition is empty"),
        ("params.ratio >", "ends where a number or a path such as params.ratio is expected"),
        ("params.ratio >> 1", "'params.ratio >> 1' is more than a condition may hold"),
        ("params.ratio = 1", "write '==' instead of '[^']+' at character 14"),
        ("drop_in && drop_in", "write 'and' instead of '[^']+' at character 9"),
        ("drop_in AND drop_in", "write 'and' instead of '[^']+' at character 9"),
        ("replaced > 1 || drop_in", "write 'or' instead of '[^']+' at character 14"),
        ("NOT drop_in", "write 'not' instead of '[^']+' at character 1"),
        ("!drop_in", "write 'not' instead of '[^']+' at character 1"),
        ("replaced => 1", "write '>=' instead of '[^']+' at character 10"),
        ("replaced <> 1", "write '!=' instead of '[^']+' at character 10"),
        ("replaced =! 1", "at character 10"),
        ("(drop_in", "condition '\\(drop_in'"),
        ("drop_in)", r"at character 8, '\)'"),
        ("and drop_in", "at character 1, 'and'"),
        ("replaced>54and kept==9", "at character 10, '54and'"),
        ("replaced > 1.5MB", "at character 12, '1.5MB'"),
        ("replaced > 1e999", "exponent beyond 30"),
        ("replaced > 1e999999999", "exponent beyond 30"),
        ("replaced > 0x10", "at character 12, '0x10'"),
        ("replaced > " + "9" * 41, "has 41 characters; at most 40"),
        ("replaced > " + "9" * 5000, "the condition has 5,011 characters; write it in at most 1,000"),
        ("replaced > 'a'", "\"'a'\" at character|''a'' is more than"),
        ("__import__('os')", r"'__import__\('os'\)' is more than a condition may hold"),
        ("params['ratio'] > 1", "is more than a condition may hold"),
        ("(lambda: drop_in)() == true", "is more than a condition may hold"),
        ("[drop_in for drop_in in macs]", "is more than a condition may hold"),
        ("drop_in if drop_in else drop_in", "is more than a condition may hold"),
        ("replaced + 1 > 3", r"'replaced \+ 1' is more than a condition may hold"),
        ("-replaced < 3", "'-replaced' is more than a condition may hold"),
        ("replaced in macs", "more than a condition may hold"),
        ("drop_in # or", "at character 9, '#'"),
        ("drop_in; drop_in", "at character 8, ';'"),
        ("drop_in \\", "at character 9"),
        ("dröp_in", "at character 1, 'dröp_in'"),
        ("sites.0.ch == 1", "at character 1, 'sites.0.ch'"),
        ("(replaced > 1) == true", "'replaced > 1' is compared"),
        ("5.ratio > 1", "at character 1, '5.ratio'"),
        ("(" * 250 + "drop_in" + ")" * 250, "condition"),
        ("not " * 50_000 + "drop_in", "the condition has 200,007 characters"),
        ("(" * 50_000, "the condition has 50,000 characters"),
    ],
    ids=lambda text: text[:40],
)
def test_syntax_errors_say_where(text: str, message: str) -> None:
    with pytest.raises(ReportError, match=message) as caught:
        Condition.parse(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@settings(deadline=None, max_examples=300)
@given(st.text(alphabet=string.printable + "é→", max_size=40) | st.from_regex(r"[a-z(). <>=!0-9KM%&|andortfse_]{0,40}"))
def test_any_text_is_a_condition_or_one_sentence(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with suppress(ReportError):
            Condition.parse(text).check()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("params.raito > 1", "no number 'params.raito'; did you mean params.ratio"),
        ("params > 1", "did you mean params.before, params.after, params.ratio"),
        ("ratio > 1", "did you mean params.ratio, trainable_params.ratio, macs.ratio, computations.ratio"),
        ("model == 1", "no number 'model'"),
        ("params.__class__ > 1", r"no number 'params.__class__'"),
        ("drop_in or parms.ratio > 1", "no number 'parms.ratio'"),
        ("not drop_in and parms.ratio > 1", "no number 'parms.ratio'"),
        ("replaced", "'replaced' is a number; compare it with one"),
        ("3", "'3' is a number"),
        ("drop_in > 1", "compares a number with true or false"),
        ("drop_in > false", "use == or !="),
    ],
)
def test_mistakes_show_before_and_after_a_conversion(sample_report: Report, text: str, message: str) -> None:
    condition = Condition.parse(text)
    with pytest.raises(ReportError, match=message):
        condition.check()
    with pytest.raises(ReportError, match=message):
        condition.holds(sample_report.to_json())


def test_known_paths_are_those_of_a_report(sample_report: Report) -> None:
    for path in known_paths():
        assert Condition.parse(f"{path} == {path}").holds(sample_report.to_json())
    assert {"params.ratio", "macs.after", "replaced", "kept", "drop_in", "ch"} <= set(known_paths())
    assert "model" not in known_paths()


def test_paths_of_a_condition() -> None:
    condition = Condition.parse("not (params.ratio > 0.2 or macs.after < macs.before) and params.ratio < 1 and drop_in")
    assert condition.paths == ("params.ratio", "macs.after", "macs.before", "drop_in")
