"""Budgets: how they are read, and how saved conversions are held against them."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from report_fixture import HOSTILE
from rich.console import Console
from torch import nn

import kswap
from kswap.benchmarks import run
from kswap.checks.budget_file import budget_of, read_budget
from kswap.checks.checking import check
from kswap.cli.main import main
from kswap.errors import ReportError
from kswap.report.renderers import render, text_of


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = nn.Sequential(nn.Conv2d(3, 32, 3), nn.Conv2d(32, 64, 1), nn.ReLU(), nn.Conv2d(64, 8, 1))
    conversion = kswap.convert(model, ch=4, input_size=(3, 8, 8), seed=0)
    return conversion.save(tmp_path_factory.mktemp("saved") / "small")


def asked(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["check", *map(str, arguments)])


@pytest.mark.parametrize(
    ("table", "quantity", "most"),
    [
        ({"params": 0.2}, "params", "20.0%"),
        ({"params": "20%"}, "params", "20.0%"),
        ({"params": 1}, "params", "100%"),
        ({"macs": "1.5M"}, "macs", "1,500,000"),
        ({"macs": 1500}, "macs", "1,500"),
        ({"bytes": "2.5MB"}, "bytes", "2,500,000"),
    ],
)
def test_amounts(small: Path, table: dict[str, Any], quantity: str, most: str) -> None:
    (limit,) = check(budget_of(table), [small]).conversions[0].limits
    assert limit.quantity == quantity
    assert limit.asked.split(" = ")[0] == most


@pytest.mark.parametrize(("amount", "most"), [(6.5, 6.5), (0.5, 0.5), ("6.5", 6.5), ("500us", 0.5), ("50%", 4.0)])
def test_milliseconds(small: Path, monkeypatch: pytest.MonkeyPatch, amount: object, most: float) -> None:
    def measured(place: str, **options: object) -> SimpleNamespace:
        assert options == {"targets": ("eager",), "batches": (4,), "threads": 2, "memory": False}
        seconds = SimpleNamespace(original=SimpleNamespace(median=0.008), rewritten=SimpleNamespace(median=0.0049))
        return SimpleNamespace(rows=[SimpleNamespace(form="optimised", seconds=seconds)])

    monkeypatch.setattr(run, "bench", measured)
    done = check(budget_of({"ms": amount, "target": "eager", "batch": 4, "threads": 2}), [small])
    (limit,) = done.conversions[0].limits
    assert (limit.most, limit.now, limit.before) == pytest.approx((most, 4.9, 8.0))
    assert done.passed == (most >= 4.9)
    assert "median of a pass of 4 in eager" in done.measured
    assert "milliseconds" in text_of(done, "md")


def test_milliseconds_are_measured(small: Path) -> None:
    place = kswap.convert("test_resnet", ch=8, input_size=(32, 32), seed=0, device="cpu").save(small.parent / "timed")
    done = check(budget_of({"ms": 10_000, "target": "eager"}), [place])
    (limit,) = done.conversions[0].limits
    assert done.passed
    assert 0 < limit.now < 10_000


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"parms": 0.2}, r"has an unknown key 'parms'; did you mean params\?"),
        ({"params": 0.2, "for": [{"model": "a", "prams": 1}]}, r"for\[0\].* has an unknown key 'prams'; did you mean"),
        ({}, "limits nothing: set one of params, macs, bytes, ms"),
        ({"params": True}, "params of the budget in pyproject.toml must be"),
        ({"params": -1}, "params = -1 is no budget"),
        ({"params": "120%"}, "params = '120%' is no budget"),
        ({"params": "many"}, "params = 'many' is no budget: 'many' is not a number of params"),
        ({"params": float("nan")}, "params of the budget in pyproject.toml must be"),
        ({"ms": 3}, "set target, one of"),
        ({"ms": 3, "target": "onnxruntim"}, r"unknown target 'onnxruntim'.*did you mean onnxruntime\?"),
        ({"ms": 3, "target": "eager", "batch": 0}, "batch of the budget"),
        ({"for": [{"params": 0.2}]}, "needs a model or a directory"),
    ],
)
def test_a_budget_that_cannot_be_meant_is_refused(table: dict[str, Any], said: str) -> None:
    with pytest.raises(ReportError, match=said):
        budget_of(table)


def test_the_last_table_that_fits_counts_for_each_quantity(small: Path) -> None:
    tables = [
        {"model": "Seq*", "params": 0.9, "bytes": "9MB"},
        {"directory": "small", "params": 0.8},
        {"model": "Sequential", "directory": "other", "params": 0.1},
    ]
    budget = replace(budget_of({"params": 0.2, "macs": 0.9, "for": tables}), path=small.parent / "budget.toml")
    limits = budget.limits_of("Sequential", small)
    assert {quantity: str(limit) for quantity, limit in limits.items()} == {
        "params": "params=0.8",
        "macs": "macs=0.9",
        "bytes": "bytes=9M",
    }


def test_the_budget_names_what_is_checked(small: Path) -> None:
    budget = replace(budget_of({"for": [{"directory": "s*", "params": 0.9}]}), path=small.parent / "budget.toml")
    assert [one.place.endswith("small") for one in check(budget).conversions] == [True]
    with pytest.raises(ReportError, match="nothing to check"):
        check(budget_of({"params": 1}))
    with pytest.raises(ReportError, match="beside the budget file or below it"):
        check(budget_of({"for": [{"directory": "../*", "params": 0.9}]}))
    with pytest.raises(ReportError, match="no budget is for Sequential in"):
        check(budget_of({"for": [{"model": "resnet*", "params": 0.9}]}), [small])


def test_bytes_are_those_of_the_file_of_weights(small: Path) -> None:
    report = kswap.Report.from_json(json.loads((small / "report.json").read_text()))
    (limit,) = check(budget_of({"bytes": 0.9}), [small]).conversions[0].limits
    assert limit.now == os.path.getsize(small / "model.safetensors")
    assert limit.before == 4 * report.params.before
    with pytest.raises(ReportError, match="a report alone, and bytes are those of the saved weights"):
        check(budget_of({"bytes": 0.9}), [small / "report.json"])
    assert check(budget_of({"params": 0.9}), [small / "report.json"]).passed


def test_the_command(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.kswap.budget]\nparams = 0.1\nmacs = '1M'\n")
    (tmp_path / "deeper").mkdir()
    monkeypatch.chdir(tmp_path / "deeper")
    over = asked(small, "--why")
    assert over.exit_code == 1
    assert "Failed: over budget: " in over.stderr
    lines = [line.split() for line in over.stdout.splitlines()]
    assert next(line for line in lines if line[:1] == ["MACs"])[-1] == "ok"
    assert "Most parameters" in over.stdout
    assert "outside of the sites" in over.stdout
    assert "Most parameters" not in asked(small).stdout
    data = json.loads(asked(small, "--why", "--format", "json").stdout)
    (one,) = data["conversions"]
    assert (data["passed"], one["passed"], one["model"]) == (False, False, "Sequential")
    parts = one["why"]["params"]
    assert sum(part["share"] for part in parts) == pytest.approx(1, abs=1e-4)
    assert [part["cost"] for part in parts] == sorted((part["cost"] for part in parts), reverse=True)
    rows = list(csv.DictReader(io.StringIO(asked(small, "--format", "csv").stdout)))
    assert [(row["quantity"], row["passed"]) for row in rows] == [("params", "False"), ("macs", "True")]
    own = tmp_path / "own.toml"
    own.write_text("params = 0.9\n")
    fine = asked(small, "--budget", own)
    assert fine.exit_code == 0
    assert "within budget (1 conversion checked)" in fine.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("params = ", "is not valid TOML"),
        ("a" + 200 * ".a" + " = 1", "more than 100 parts"),
        ("[tool.kswap]\n", "has no [tool.kswap.budget]"),
        ("[tool]\nkswap = 3\n", "has no [tool.kswap.budget]"),
        ("tool = 3\n", "has no [tool.kswap.budget]"),
    ],
)
def test_a_file_without_a_budget(small: Path, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text(text)
    done = asked(small, "--budget", file)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_no_budget_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ReportError, match=r"no pyproject.toml from here upwards has a \[tool.kswap.budget\]"):
        read_budget()


def test_hostile_names_are_harmless(small: Path) -> None:
    done = check(budget_of({"params": 0.1}), [small], why=10)
    (one,) = done.conversions
    harmful = replace(done, conversions=(replace(one, place=HOSTILE, model=HOSTILE),))
    console = Console(file=io.StringIO(), width=80)
    render(harmful, "rich", console)
    for text in (console.file.getvalue(), text_of(harmful, "csv")):
        assert "\x1b" not in text
        assert "\n=cmd" not in text
    assert console.file.getvalue().isascii()
    assert "<script>" not in text_of(harmful, "md").replace(f"`{HOSTILE}", "").split("|")[0]
