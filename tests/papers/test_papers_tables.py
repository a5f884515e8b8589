"""The tables of the papers: every figure is ours, or its row says why not."""

from __future__ import annotations

import csv
import io
import json

import pytest
from click.testing import CliRunner

from kswap.cli.main import main
from kswap.papers import tables
from kswap.papers.recipes import RECIPES, Variant, recipe
from kswap.papers.tables import CheckedRow, Figures, PublishedRow, check, published_rows
from kswap.planner.counting import count_plan

# Of the authors' code: trainable parameters and computations, where no table prints the latter.
AUTHORS = {
    ("kefficientnet-b0", "v2", 16, 224): (623_226, 124_683_198),
    ("kefficientnet-b7", "v2", 32, 224): (7_254_626, 1_123_798_982),
    ("kmobilenet", "v2", 32, 224): (403_018, 153_824_798),
    ("kmobilenet-v3-large", "v2", 32, 224): (639_386, 108_034_966),
    ("kdensenet-bc-l100", "v2", 12, 32): (337_258, 140_553_210),
    ("kinception-v3", "v2", 32, 224): (15_135_194, 2_337_658_958),
}
ROWS = published_rows()


@pytest.mark.parametrize(("name", "scheme", "ch", "side"), AUTHORS)
def test_networks_of_the_authors_that_no_table_has(name: str, scheme: str, ch: int, side: int) -> None:
    counts = count_plan(Variant(recipe(name), scheme, ch, num_classes=10, input_size=(side, side)).plan())
    assert (counts.trainable_params, counts.operations // 2) == AUTHORS[name, scheme, ch, side]


@pytest.mark.parametrize("table", ["2022 paper, Table 4", "MENDEL 2022, CIFAR-10"])
def test_rows_agree_or_say_why(table: str) -> None:
    for checked in check(published_rows(table)):
        assert checked.explained, checked.to_json()
        assert checked.agrees or checked.row.computations == 201_421_626


@pytest.mark.slow
def test_all_rows_agree_or_say_why() -> None:
    checked = check(ROWS)
    assert [row.to_json() for row in checked if not row.explained] == []
    differing = [(row.row.table, row.row.params, row.ours.params) for row in checked if not row.agrees]
    assert differing == [
        ("MENDEL 2022, CIFAR-10", 1_324_362, 1_324_362),
        ("2022 paper, Table 3", 968_710, 901_542),
        ("2022 paper, Table 8", 355_064, 309_432),
        ("2022 paper, Table 8", 397_888, 352_256),
        ("2022 paper, Table 8", 487_416, 441_784),
    ]


def test_all_tables_are_there() -> None:
    assert len(ROWS) == 127
    names = dict.fromkeys(row.table for row in ROWS)
    assert list(names) == [
        "2021 paper, Table 1",
        "2021 paper, Table 2",
        "MENDEL 2022, CIFAR-10",
        "MENDEL 2022, CIFAR-100",
        "MENDEL 2022, Cropped-PlantDoc",
        "MENDEL 2022, Oxford-IIIT Pet",
        *(f"2022 paper, Table {number}" for number in range(1, 9)),
    ]


def test_what_recipes_call_published_is_in_the_tables() -> None:
    printed: dict[str, set[tuple[str, int]]] = {name: set() for name in RECIPES}
    for row in ROWS:
        if row.recipe and row.scheme and row.ch:
            printed[row.recipe].add((row.scheme, row.ch))
    assert printed == {name: set(own.published) for name, own in RECIPES.items()}


def test_a_row_that_differs_without_a_reason_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = PublishedRow("2022 paper, Table 1", 81, layer=(14, 10), scheme="v2", ch=4)
    checked = CheckedRow(wrong, Figures(80))
    assert not checked.explained
    monkeypatch.setattr(tables, "published_rows", lambda _table=None: (wrong,))
    result = CliRunner().invoke(main, ["papers"])
    assert result.exit_code == 1
    assert "1 rows differ for no known reason" in result.stderr


def test_a_note_on_an_accuracy_belongs_to_the_row_that_it_quotes() -> None:
    noted = [row for row in ROWS if row.note and "accuracy" in row.note]
    assert [(row.table, row.accuracy) for row in noted] == [("MENDEL 2022, CIFAR-10", 93.52)]
    assert all(f"published accuracy {row.accuracy}" in str(row.note) for row in noted)


def test_two_passes_double_the_computations() -> None:
    row = PublishedRow("a", 5, recipe="kmobilenet", computations=14, passes=2)
    assert CheckedRow(row, Figures(5, 7)).agrees
    assert not CheckedRow(row, Figures(5, 14)).agrees


def test_formats_of_the_command() -> None:
    def run(*options: str) -> str:
        result = CliRunner().invoke(main, ["papers", "2022 paper, table 1", *options])
        assert result.exit_code == 0, result.output
        return result.stdout

    rows = json.loads(run("--format", "json"))
    assert len(rows) == 9
    assert rows[0]["params"] == {"published": 80, "ours": 80}
    flat = list(csv.DictReader(io.StringIO(run("--format", "csv"))))
    assert [int(row["params"]) for row in flat] == [row["params"]["ours"] for row in rows]
    assert run("--format", "md").startswith("## 2022 paper, Table 1\n\n| network |")
    assert "9 of 9 rows agree" in run()
    unknown = CliRunner().invoke(main, ["papers", "Table 99"])
    assert unknown.exit_code == 2
    assert "no table is called 'Table 99'" in unknown.stderr


def test_notes_stand_below_the_table() -> None:
    result = CliRunner().invoke(main, ["papers", "2022 paper, Table 6"])
    assert result.exit_code == 0
    assert "(1) two passes, of the picture and its mirror" in result.stdout
    assert result.stdout.count("yes (1)") == 1


def test_create_lists_the_recipes_and_builds_one(tmp_path: object) -> None:
    listed = CliRunner().invoke(main, ["create"])
    assert listed.exit_code == 0
    assert all(name in listed.stdout for name in RECIPES)
    options = ["kmobilenet-v3-large", "--ch", "32", "--num-classes", "10", "--device", "cpu", "--seed", "1"]
    result = CliRunner().invoke(main, ["create", *options, "--format", "json", "--out", f"{tmp_path}/out"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["scheme"] == "v1"
    assert report["trainable_params"] == {"before": 4_214_842, "after": 710_074, "ratio": 0.16847}
    assert report["computations"]["after"] == 117_295_446
    assert CliRunner().invoke(main, ["report", f"{tmp_path}/out"]).exit_code == 0


def test_variants_of_the_2022_paper_from_the_command_line() -> None:
    common = ["kefficientnet-b0", "--num-classes", "10", "--input-size", "32", "--skip-strides", "3", "--ch", "16"]
    for extra, params, computations in (
        ([], 623_226, 82_804_374),
        (["--no-second-layer"], 584_934, 77_356_802),
        (["--relu"], 623_226, 80_912_406),
    ):
        options = [*common, *extra, "--dry-run", "--format", "json"]
        report = json.loads(CliRunner().invoke(main, ["create", *options]).stdout)
        assert report["trainable_params"]["after"] == params
        assert report["computations"]["after"] == computations
