"""A scan with training: the same recipe for every network and the original, in other processes, resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image
from torch import nn

import kswap
from kswap.cli.main import main
from kswap.errors import KswapError, StudyError, TrainingError
from kswap.scans import stages
from kswap.scans.executors.executor import Outcome
from kswap.scans.executors.local import LocalExecutor
from kswap.scans.result import Scan
from kswap.scans.trainings import trained

MODEL = "test_resnet"
RECIPE = {"epochs": 2, "batch": 8, "lr": 0.01, "keep": "last"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of plain pictures, dark and light."""
    root = tmp_path_factory.mktemp("scan") / "pictures"
    for split, count in (("train", 8), ("val", 4)):
        for number, name in enumerate(("dark", "light")):
            (root / split / name).mkdir(parents=True)
            for shade in range(count):
                Image.new("L", (32, 32), 200 * number + shade).save(root / split / name / f"{shade}.png")
    return root


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Trials run in this process, which saves seconds; the requests that were made."""
    requests: list[dict[str, Any]] = []

    def run(_executor: Any, function: Any, asked: Any) -> Any:
        for number, request in enumerate(asked):
            requests.append(request)
            try:
                yield Outcome(number, function(json.loads(json.dumps(request))))
            except KswapError as error:
                yield Outcome(number, error=error)

    monkeypatch.setattr(LocalExecutor, "run", run)
    return requests


def scanned(pictures: Path, out: Path | None = None, **options: Any) -> Scan:
    asked = {"ch": [4, 8], "input_size": (32, 32), "train": RECIPE, "data": pictures, "device": "cpu"}
    return kswap.scan(MODEL, out=out, progress=False, **asked | options)


def test_every_network_and_the_original_are_trained_in_processes_and_not_again(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "scan"
    found = scanned(pictures, out, ch=8, workers=2)
    assert [row.trained is not None for row in found.rows] == [True] * 2
    assert found.training is not None
    assert found.training.tested == "pictures, split val"
    assert [(x.key, y.key) for x, y in found.pairs] == [("params", "accuracy"), ("macs", "accuracy")]
    assert found.planning.model_kwargs == {"num_classes": 2}
    alone = kswap.convert(MODEL, ch=8, num_classes=2, input_size=(32, 32), device="cpu", seed=0)
    again = kswap.train(alone, pictures, recipe=RECIPE, progress=False)
    assert found.rows[1].trained is not None
    assert found.rows[1].trained.top1 == again.top1
    kept = kswap.load(out / "networks" / "test_resnet-grouped-v2-8").report
    assert kept.params.after == found.rows[1].params.after
    assert kswap.load(out / "networks" / "test_resnet-original").report.params.ratio == 1

    def never(*_arguments: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(stages, "trained", never)
    assert scanned(pictures, out, ch=8).rows == found.rows


def test_a_network_that_cannot_be_trained_is_a_note_and_tried_again(
    pictures: Path, tmp_path: Path, here: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(request: Any) -> Any:
        if request["trial"]["ch"] == 4:
            raise TrainingError("the loss is not a number")
        return trained(request)

    monkeypatch.setattr(stages, "trained", failing)
    found = scanned(pictures, tmp_path / "scan")
    assert [row.trained is None for row in found.rows] == [False, True, False]
    assert found.notes == (f"{MODEL}, grouped, v2, Ch 4 could not be trained: the loss is not a number",)
    assert all(row in found.rows and row.trained is not None for row in found.front)
    here.clear()
    monkeypatch.setattr(stages, "trained", trained)
    assert scanned(pictures, tmp_path / "scan").notes == ()
    assert [request["trial"]["ch"] for request in here] == [4]


def test_where_no_network_can_be_trained_the_reason_is_raised(
    pictures: Path, here: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_request: Any) -> Any:
        raise TrainingError("the loss is not a number")

    monkeypatch.setattr(stages, "trained", failing)
    with pytest.raises(TrainingError, match="the loss is not a number"):
        scanned(pictures)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"data": None}, "training needs pictures: pass them with data="),
        ({"train": None}, "the pictures are for training: add a recipe with train="),
        ({"train": "quikc"}, "did you mean quick"),
        ({"data": "no/such/place"}, "there is no folder or zip"),
        ({"device": "gpu"}, "device"),
        ({"workers": 0}, "workers must be at least 1, not 0"),
        ({"data": 3}, "pass paths of folders and zips"),
        ({"ray": "nowhere"}, "no address of a Ray cluster|need ray"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_written(
    pictures: Path, tmp_path: Path, options: dict[str, Any], error: str
) -> None:
    with pytest.raises(KswapError, match=error):
        scanned(pictures, tmp_path / "scan", **options)
    assert not (tmp_path / "scan").exists()


def test_modules_directories_and_pictures_without_a_test_are_refused(pictures: Path) -> None:
    with pytest.raises(StudyError, match="pass names of models instead of modules"):
        kswap.scan(nn.Conv2d(64, 64, 1), train=RECIPE, data=pictures, progress=False)
    with pytest.raises(StudyError, match=r"from fresh weights, and .* has its own: name the model it was made from"):
        kswap.scan(str(pictures), train=RECIPE, data=pictures, progress=False)
    with pytest.raises(StudyError, match="no other pictures to measure accuracy on"):
        scanned(pictures, data=pictures / "train", train={**RECIPE, "held_out": 0.0})


def test_the_command_trains_and_shows_the_accuracy(pictures: Path, here: list[dict[str, Any]]) -> None:
    arguments = [MODEL, "--ch", "8", "--input-size", "32", "--train", "quick", "--data", str(pictures), "--epochs", "1"]
    result = CliRunner().invoke(main, ["scan", *arguments, "--format", "md", "--device", "cpu", "--seed", "3"])
    assert result.exit_code == 0, result.output
    assert "| accuracy |" in result.stdout
    assert "recipe quick, 1 epoch, seed 3" in result.stdout
    assert {request["training"]["seed"] for request in here} == {3}
    assert f"{MODEL}, grouped, v2, Ch 8: accuracy" in result.stderr


def test_a_change_of_the_recipe_is_refused(pictures: Path, tmp_path: Path, here: list[dict[str, Any]]) -> None:
    scanned(pictures, tmp_path / "scan", ch=8)
    with pytest.raises(StudyError, match=r"holds a scan with other settings \(recipe.epochs: 2.0, now 1.0\)"):
        scanned(pictures, tmp_path / "scan", ch=8, epochs=1)
