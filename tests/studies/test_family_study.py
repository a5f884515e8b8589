"""The study of families, on times that are made up."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import timm
from click.testing import CliRunner
from torch import nn

from kswap.benchmarks.request import BenchmarkRequest
from kswap.benchmarks.result import Benchmark, Outside
from kswap.benchmarks.run import bench
from kswap.cli.main import main
from kswap.errors import DeployError, StudyError
from kswap.model_table.table import read_table
from kswap.report.renderers import text_of
from kswap.studies.families.choosing import smallest_models
from kswap.studies.families.run import family_study
from kswap.studies.families.settings import Settings

SETTINGS = Settings(rounds=6)
# The ratio in ONNX Runtime and in eager mode.
RATIOS = {"resnet10t": (4.0, 0.5), "mobilenetv3_small_050": (1.0, 2.0)}
Asked = list[BenchmarkRequest]


@pytest.fixture(scope="module")
def template() -> Benchmark:
    model = nn.Sequential(nn.Conv2d(3, 64, 1), nn.Conv2d(64, 64, 1), nn.Conv2d(64, 64, 1)).eval()
    options = {"rounds": 6, "memory": False, "autotune": False, "progress": False}
    return bench(model, input_size=(8, 8), **options)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, template: Benchmark) -> Asked:
    """What is to be measured, answered with :data:`RATIOS`; other models cannot be measured."""
    requests: Asked = []

    def answer(request: BenchmarkRequest, progress: bool) -> Benchmark:
        requests.append(request)
        (model,) = request.models
        if model not in RATIOS:
            raise DeployError("no such luck")
        optimised, as_converted = template.rows
        rows = [
            replace(optimised, target=target, ratio=ratio, low=0.9 * ratio, high=1.1 * ratio, outside=Outside(0.25))
            for target, ratio in zip(("onnxruntime", "eager"), RATIOS[model], strict=True)
        ]
        return replace(template, rows=(*rows, replace(as_converted, ratio=99.0)))

    monkeypatch.setattr("kswap.studies.families.run.run_in_process", answer)
    return requests


def test_each_family_is_measured_once_and_the_mean_is_geometric(asked: Asked, tmp_path: Path) -> None:
    first = family_study(SETTINGS, tmp_path, ["resnet"])
    assert [(request.models, request.targets, request.batches) for request in asked] == [
        (("resnet10t",), ("onnxruntime", "eager"), (1,))
    ]
    assert [one.family for one in first.families] == ["resnet"]
    study = family_study(SETTINGS, tmp_path, ["resnet", "mobilenetv3"])
    assert [request.models for request in asked] == [("resnet10t",), ("mobilenetv3_small_050",)]
    assert [(summary.target, summary.networks, round(summary.mean, 9)) for summary in study.summaries] == [
        ("onnxruntime", 2, 2.0),
        ("eager", 2, 1.0),
    ]
    assert study.of == len(smallest_models(5e9))
    assert (tmp_path / "families.png").read_bytes().startswith(b"\x89PNG")
    assert "onnxruntime: geometric mean 2.00 of 2 networks; " in study.remarks()[0]
    assert family_study(SETTINGS, tmp_path, ["resnet"]).families == study.families
    assert len(asked) == 2


def test_a_network_that_cannot_be_measured_is_named_and_not_counted(asked: Asked, tmp_path: Path) -> None:
    study = family_study(SETTINGS, tmp_path, ["resnet", "regnet"])
    assert study.summaries[0].networks == 1
    assert study.remarks()[-1] == "regnet (regnetx_002) could not be measured: no such luck"


def test_every_format_shows_it(asked: Asked, tmp_path: Path) -> None:
    options = ["--out", str(tmp_path), "--rounds", "6", "--family", "resnet", "--family", "regnet"]
    done = CliRunner().invoke(main, ["study", "families", *options, "--format", "md"])
    assert done.exit_code == 0, done.output
    assert "| resnet10t | resnet | 4.00 (4.00) | 3.60-4.40 |" in done.stdout
    assert f"`kswap study families {' '.join(options)} --format md`" in done.stdout
    study = family_study(SETTINGS, tmp_path, ["resnet"])
    lines = list(csv.DictReader(io.StringIO(text_of(study, "csv"))))
    assert [(line["model"], line["target"], line["ratio"], line["why_not"]) for line in lines] == [
        ("regnetx_002", "onnxruntime", "", "no such luck"),
        ("regnetx_002", "eager", "", "no such luck"),
        ("resnet10t", "onnxruntime", "4.0", ""),
        ("resnet10t", "eager", "0.5", ""),
    ]
    assert json.loads(text_of(study, "json"))["summaries"][0]["mean"] == 4.0
    shown = CliRunner().invoke(main, ["study", "families", *options])
    assert "resnet10t" in shown.stdout
    assert "geometric mean 4.00" in shown.stdout


def test_nothing_is_begun_after_the_time_is_over(asked: Asked, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["study", "families", "--out", str(tmp_path), "--rounds", "6", "--minutes", "0"])
    assert done.exit_code == 2
    assert done.stderr == "Error: no network was measured: give it more --minutes\n"
    assert asked == []
    family_study(SETTINGS, tmp_path, ["resnet"])
    assert [one.family for one in family_study(SETTINGS, tmp_path, minutes=0).families] == ["resnet"]


def test_what_makes_no_sense_is_refused(asked: Asked, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no family 'resnets' of timm has such a network; did you mean resnet"):
        family_study(SETTINGS, tmp_path, ["resnets"])
    with pytest.raises(StudyError, match="no family 'vision_transformer_sam' of timm"):
        family_study(SETTINGS, tmp_path, ["vision_transformer_sam"])
    family_study(SETTINGS, tmp_path, ["resnet"])
    with pytest.raises(StudyError, match=r"other settings \(ch: 16, now 32\)"):
        family_study(replace(SETTINGS, ch=32), tmp_path, ["resnet"])
    with pytest.raises(StudyError, match="needs a target"):
        Settings(targets=())
    with pytest.raises(StudyError, match="threads must be at least 1, not 0"):
        Settings(threads=0)


def test_the_smallest_of_each_family_has_something_to_replace() -> None:
    table = read_table()
    found = smallest_models(5e9)
    assert found["mobilenetv3"] == "mobilenetv3_small_050"
    for family, name in found.items():
        sweep = table[name].sweep
        assert sweep is not None
        assert sweep.replaced > 0
        assert name in timm.list_models(module=family)
    assert set(found) < set(smallest_models(1e12))
