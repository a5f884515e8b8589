"""A scan as a value: its grid, its fronts, its files, and what of them is done again."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import kswap
from kswap.errors import KswapError, ModelError, PlanError, StudyError
from kswap.report.renderers import formats_of, text_of
from kswap.scans.fronts import front_of
from kswap.scans.plans import Planner
from kswap.scans.result import Row, Scan
from kswap.scans.trial import Trial

MODEL = "test_resnet"


@pytest.fixture(scope="module")
def planned() -> Scan:
    return kswap.scan(
        [MODEL, "test_efficientnet"], ch=[4, 8], scheme=["v1", "v2"], kind=["grouped", "low-rank"], progress=False
    )


@pytest.fixture(scope="module")
def timed() -> Scan:
    return kswap.scan(
        MODEL, ch=[4, 8], latency="eager", rounds=6, autotune=False, input_size=(32, 32), progress=False, threads=1
    )


def row_of(scan: Scan, trial: Trial) -> Row:
    return next(row for row in scan.rows if row.trial == trial)


def test_every_network_of_the_grid_has_the_counts_of_its_plan(planned: Scan) -> None:
    assert len(planned.rows) == 2 * (1 + 2 * 2 * 2)
    for row in planned.rows:
        if row.trial.is_original:
            assert row.params.ratio == row.macs.ratio == 1
            continue
        assert row.trial.scheme is not None
        assert row.trial.kind is not None
        assert row.trial.ch is not None
    trial = Trial("test_efficientnet", "low-rank", "v1", 8)
    alone = kswap.plan(trial.model, ch=8, scheme="v1", kind="low-rank")
    row = row_of(planned, trial)
    assert (row.replaced, row.sites) == (len(alone.replaced), len(alone.sites))
    converted = kswap.convert(trial.model, plan=alone, device="cpu").report
    assert (row.params, row.macs, row.computations) == (converted.params, converted.macs, converted.computations)


def test_groups_are_aligned_where_a_kind_has_groups() -> None:
    kinds = ["grouped", "low-rank"]
    found = kswap.scan("test_efficientnet", ch=8, kind=kinds, align=16, progress=False)
    for kind, align in zip(kinds, (16, None), strict=True):
        alone = kswap.convert("test_efficientnet", ch=8, kind=kind, align=align, device="cpu").report
        assert row_of(found, Trial("test_efficientnet", kind, "v2", 8)).params == alone.params
    assert "groups are multiples of 16" in text_of(found, "md")
    with pytest.raises(PlanError, match="low-rank has none"):
        kswap.scan(MODEL, kind="low-rank", align=16, progress=False)


def test_a_model_is_traced_once_however_many_plans_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    from kswap import traced

    runs = []
    run = traced.run_of
    monkeypatch.setattr(traced, "run_of", lambda *arguments: runs.append(arguments[1]) or run(*arguments))
    kswap.scan(MODEL, ch=[4, 8, 16], scheme=["v1", "v2"], progress=False)
    assert runs == [MODEL]


@given(st.dictionaries(st.integers(), st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_front_is_what_no_other_point_dominates(points: dict[int, tuple[float, float]], more: bool) -> None:
    sign = -1 if more else 1

    def dominates(a: tuple[float, float], b: tuple[float, float]) -> bool:
        return a != b and a[0] <= b[0] and sign * a[1] <= sign * b[1]

    wanted = {name for name, own in points.items() if not any(dominates(other, own) for other in points.values())}
    found = front_of(points, more)
    assert set(found) == wanted
    assert [points[name] for name in found] == sorted((points[name] for name in found), key=lambda point: point[0])


def test_without_measurements_each_model_has_a_front_of_parameters_against_macs(planned: Scan) -> None:
    assert [(x.key, y.key) for x, y in planned.pairs] == [("params", "macs")]
    assert {row.trial.model for row in planned.front} == set(planned.models)
    smallest = min((row for row in planned.rows if row.trial.model == MODEL), key=lambda row: row.params.after)
    assert smallest in planned.front
    assert planned.front == tuple(row for row in planned.rows if row in planned.fronts["params"])


def test_times_are_beside_those_of_the_original(timed: Scan) -> None:
    original, *others = timed.rows
    assert original.time == 1
    assert original.latency is None
    for row in others:
        assert row.latency is not None
        assert row.latency.rounds == 6
        assert row.time == pytest.approx(1 / row.latency.ratio)
        assert row.ms == pytest.approx(1000 * row.latency.own.median)
    assert [(x.key, y.key) for x, y in timed.pairs] == [("params", "time"), ("macs", "time")]
    assert timed.machine is not None
    assert timed.machine.threads == 1


@pytest.mark.parametrize("format_", [name for name in formats_of("scan") if name != "rich"])
def test_every_format_has_every_network(planned: Scan, timed: Scan, format_: str) -> None:
    for scan in (planned, timed):
        text = text_of(scan, format_)
        for row in scan.rows:
            assert (f"{row.params.after:,}" if format_ in ("md", "html") else str(row.params.after)) in text


def test_csv_and_json_hold_the_numbers(timed: Scan) -> None:
    lines = list(csv.DictReader(io.StringIO(text_of(timed, "csv"))))
    data = json.loads(text_of(timed, "json"))
    assert [line["kind"] for line in lines] == ["original", "grouped", "grouped"]
    assert [float(line["params_ratio"]) for line in lines] == [row.params.ratio for row in timed.rows]
    assert [row["ms"] for row in data["rows"]] == [row.ms for row in timed.rows]
    assert [row["name"] for row in data["rows"] if "params" in row["front"]] == sorted(
        data["fronts"][0]["rows"], key=[row["name"] for row in data["rows"]].index
    )
    assert data["latency"]["target"] == "eager"


def test_the_page_holds_its_picture(planned: Scan) -> None:
    page = text_of(planned, "html")
    assert page.count("<svg") == page.count("</svg>") == 1
    assert re.findall(r"(?:src|href)=\"(?!#)", page) == []
    assert "<metadata" not in page
    assert text_of(planned, "html") == page


def test_a_module_is_scanned_as_it_is() -> None:
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Conv2d(64, 64, 1), nn.ReLU())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = kswap.scan([model, model], ch=16, input_size=(16, 16), progress=False)
    assert found.models == ("Sequential", "Sequential 2")
    assert found.rows[1].params.after < found.rows[0].params.after
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_what_has_its_file_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "scan"
    done: list[Trial] = []
    plan = Planner.planned
    most = 3

    def stopping(planner: Planner, trial: Trial) -> Any:
        if len(done) == most:
            raise KeyboardInterrupt
        done.append(trial)
        return plan(planner, trial)

    monkeypatch.setattr(Planner, "planned", stopping)
    asked: dict[str, Any] = {"ch": [4, 8], "scheme": ["v1", "v2"], "out": out, "progress": False}
    with pytest.raises(KeyboardInterrupt):
        kswap.scan(MODEL, **asked)
    assert len(list((out / "planning").glob("*.json"))) == 3
    done.clear()
    most = 100
    found = kswap.scan(MODEL, **asked)
    assert [str(trial) for trial in done] == [f"{MODEL}, grouped, v2, Ch 8"]
    assert found.rows == kswap.scan(MODEL, ch=[4, 8], scheme=["v1", "v2"], progress=False).rows
    done.clear()
    grown = kswap.scan(MODEL, **asked | {"ch": [4, 8, 16]})
    assert [trial.ch for trial in done] == [16, 16]
    assert len(grown.rows) == 7


def test_a_directory_is_continued_with_the_same_settings_only(tmp_path: Path) -> None:
    out = tmp_path / "scan"
    kswap.scan(MODEL, ch=4, out=out, progress=False)
    with pytest.raises(
        StudyError, match=r"holds a scan with other settings \(model_kwargs: {}, now .*\): give those, or choose"
    ):
        kswap.scan(MODEL, ch=4, out=out, num_classes=10, progress=False)
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    with pytest.raises(StudyError, match="holds files that are not of a scan"):
        kswap.scan(MODEL, ch=4, out=other, progress=False)
    assert [path.name for path in other.iterdir()] == ["mine.txt"]


def test_a_network_without_blocks_is_a_note(planned: Scan) -> None:
    found = kswap.scan(MODEL, ch=[4, 4096], progress=False)
    assert [row.trial.ch for row in found.rows] == [None, 4]
    assert len(found.notes) == 1
    assert "Ch 4096: none of the" in found.notes[0]
    with pytest.raises(PlanError, match="is eligible at ch=4096"):
        kswap.scan(MODEL, ch=4096, progress=False)


def test_rules_count_and_may_not_set_what_is_scanned() -> None:
    kept = kswap.scan(MODEL, ch=4, rules={"rule": [{"match": {"name": "layer4*"}, "keep": True}]}, progress=False)
    assert 0 < kept.rows[1].replaced < kept.rows[1].sites
    with pytest.raises(PlanError, match="set ch = 8 everywhere: scan with ch=8 alone, or take it out"):
        kswap.scan(MODEL, ch=[4, 8], rules={"ch": 8}, progress=False)


@pytest.mark.parametrize(
    ("models", "options", "error"),
    [
        ((), {}, "there is nothing to scan"),
        ("resnet5O", {}, "did you mean"),
        ([MODEL, 3], {}, "a model is a name, a directory or a module, not 3"),
        (MODEL, {"ch": 0}, "ch .* must be"),
        (MODEL, {"ch": []}, "a scan needs at least one ch"),
        (MODEL, {"scheme": "v9"}, "unknown scheme"),
        (MODEL, {"kind": "groupd"}, "did you mean grouped"),
        (MODEL, {"latency": "egaer"}, "eager"),
        (MODEL, {"latency": "eager", "rounds": 0}, "rounds must be at least 1"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(
    models: Any, options: dict[str, Any], error: str, tmp_path: Path
) -> None:
    out = tmp_path / "scan"
    with pytest.raises(KswapError, match=error):
        kswap.scan(models, out=out, progress=False, **options)
    assert not out.exists()


def test_a_wrong_name_among_several_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="did you mean"):
        kswap.scan([MODEL, "resnet5O"], out=tmp_path / "scan", progress=False)
    assert not (tmp_path / "scan").exists()


def test_modules_have_no_directory(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="results of modules cannot be stored"):
        kswap.scan(nn.Conv2d(8, 8, 1), out=tmp_path / "scan", progress=False)
