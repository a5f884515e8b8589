"""Conditions for ``--fail-if``."""

from __future__ import annotations

import pytest

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
        ("replaced>54and kept==9", None),
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
        with pytest.raises(ReportError, match="'54and' at character 10"):
            Condition.parse(text)
    else:
        assert Condition.parse(text).check().holds(sample_report.to_json()) is holds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the condition is empty"),
        ("  ", "the condition is empty"),
        ("params.ratio >", "expected a number or a path such as params.ratio, but it ends there"),
        ("params.ratio >> 1", "found '>>' at character 14"),
        ("params.ratio = 1", "found '=' at character 14; write '==' instead"),
        ("drop_in && drop_in", "found '&&' at character 9; write 'and' instead"),
        ("drop_in AND drop_in", "found 'AND' at character 9; write 'and' instead"),
        ("replaced > 1 || drop_in", "write 'or' instead"),
        ("(drop_in", r"expected '\)', but it ends there"),
        ("drop_in)", r"found '\)' at character 8"),
        ("1 < replaced < 9", "found '<' at character 14"),
        ("and drop_in", "found 'and' at character 1"),
        ("replaced > 1.5MB", "found '1.5MB' at character 12"),
        ("replaced > 1e999", "expected an exponent of at most 30"),
        ("replaced > 1e999999999", "expected an exponent of at most 30"),
        ("replaced > 'a'", "found \"'a'\" at character 12"),
        ("__import__('os')", r"found '\(' at character 11"),
        ("(" * 60 + "drop_in" + ")" * 60, "nested more than 50 deep"),
        ("not " * 60 + "drop_in", "nested more than 50 deep"),
    ],
)
def test_syntax_errors_say_where(text: str, message: str) -> None:
    with pytest.raises(ReportError, match=message) as caught:
        Condition.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("params.raito > 1", "no number 'params.raito'; did you mean params.ratio"),
        ("params > 1", "did you mean params.before, params.after, params.ratio"),
        ("ratio > 1", "did you mean params.ratio, trainable_params.ratio, macs.ratio, computations.ratio"),
        ("model == 1", "no number 'model'"),
        ("sites.0.ch == 1", "no number 'sites.0.ch'"),
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
