"""``kswap scan``: lists in any order, formats, pictures, and one line for each mistake."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kswap.cli.main import main
from kswap.cli.scan import scan
from kswap.model_table.table import read_table

MODEL = "test_resnet"


def kswap(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["scan", *arguments], prog_name="kswap")


def networks(result: Result) -> list[tuple[str, str, str]]:
    assert result.exit_code == 0, result.output
    lines = csv.DictReader(io.StringIO(result.stdout))
    return [(line["model"], line["scheme"], line["ch"]) for line in lines if line["kind"] != "original"]


@pytest.mark.parametrize(
    "arguments",
    [
        (MODEL, "test_efficientnet", "--ch", "4", "8", "--scheme", "v1", "v2"),
        ("--ch", "4", "8", "--scheme", "v1", "v2", MODEL, "test_efficientnet"),
        ("--scheme=v1,v2", MODEL, "--ch", "4,8", "test_efficientnet"),
        ("--ch", "4,", "8", MODEL, "--scheme", "v1", "--ch=8", "test_efficientnet", "--scheme", "v2"),
    ],
)
def test_lists_stand_before_and_after_models(arguments: tuple[str, ...]) -> None:
    found = networks(kswap(*arguments, "--format", "csv"))
    assert found == [
        (model, scheme, ch) for model in (MODEL, "test_efficientnet") for scheme in ("v1", "v2") for ch in ("4", "8")
    ]


def test_no_name_of_a_model_is_taken_for_a_scheme_or_a_kind() -> None:
    for belongs in scan.lists.values():
        assert [name for name in read_table() if belongs(name)] == []


def test_kinds_and_defaults() -> None:
    result = kswap(MODEL, "--kind", "grouped", "low-rank", "--format", "json")
    rows = json.loads(result.stdout)["rows"]
    assert [(row["kind"], row["ch"]) for row in rows[1:]] == [
        (kind, ch) for kind in ("grouped", "low-rank") for ch in (4, 8, 16, 32)
    ]
    assert {row["scheme"] for row in rows[1:]} == {"v2"}


def test_a_directory_holds_all_formats_and_is_continued(tmp_path: Path) -> None:
    out, figure = tmp_path / "scan", tmp_path / "scan.png"
    result = kswap(MODEL, "--ch", "4", "--out", str(out), "--figure", str(figure))
    assert result.exit_code == 0, result.output
    assert "front: Pareto front of parameters (P) against MACs" in " ".join(result.stdout.split())
    assert {"scan.json", "scan.csv", "scan.md", "scan.html", "scan.png"} <= {path.name for path in out.iterdir()}
    assert figure.read_bytes() == (out / "scan.png").read_bytes()
    assert json.loads((out / "scan.json").read_text())["command"].startswith(f"kswap scan {MODEL} --ch 4")
    assert len(networks(kswap(MODEL, "--ch", "4", "8", "--out", str(out), "--format", "csv"))) == 2


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), "Missing argument 'MODEL...'"),
        (("--ch", "4"), "Missing argument 'MODEL...'"),
        ((MODEL, "--ch"), "Option '--ch' requires an argument"),
        ((MODEL, "--ch", "0"), "0 is not in the range"),
        ((MODEL, "--ch", "4", "8.5"), "'8.5' is not a valid integer"),
        ((MODEL, "--scheme", "v1", "v3"), "'v3' is not one of 'v1', 'v2'"),
        ((MODEL, "--kind", "grouped", "lowrank"), "'lowrank' is not one of"),
        ((MODEL, "--latency", "tpu"), "'tpu' is not one of"),
        ((MODEL, "--threads", "1"), "--threads is for times: add --latency TARGET"),
        ((MODEL, "--data", "photos"), "--data is for training: add --train RECIPE"),
        ((MODEL, "--workers", "2"), "--workers is for training: add --train RECIPE"),
        ((MODEL, "--train", "quick"), "training needs pictures: pass them with --data PATH"),
        ((MODEL, "--train", "quick", "--data", "no-such"), "there is no folder or zip file"),
        ((MODEL, "--figure", "scan.pdf"), "give scan.pdf the suffix .png"),
        ((MODEL, "resnet5O"), "did you mean"),
        ((MODEL, "--ch", "4", "x"), "x"),
        ((MODEL, "--rules", "no-such"), "unknown preset 'no-such'"),
        ((MODEL, "--rules", "no-such", "--input-size", "a"), "'a' is not a size"),
    ],
)
def test_a_mistake_is_one_line(arguments: tuple[str, ...], error: str) -> None:
    result = kswap(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert error in result.stderr
