"""``kswap train``: from a name or a saved directory to another, and one line for every mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from click.testing import CliRunner, Result
from training_fixture import classes, network

import kswap
from kswap.cli.main import main


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["train", *arguments], prog_name="kswap")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pictures and a saved conversion, which is the current one."""
    classes(tmp_path / "photos", train=4, test=2)
    network().save(tmp_path / "small")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_saved_directory_is_trained_further(place: Path) -> None:
    common = ("small", "--data", "photos", "--epochs", "1", "--batch", "4", "--device", "cpu")
    result = run(*common, "--format", "json")
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert data["images"] == 12
    assert data["directory"] == str(place / "small-trained")
    assert kswap.load("small-trained").plan == kswap.load("small").plan
    shown = run(*common)  # done already
    assert shown.exit_code == 0, shown.output
    assert "with the mirrored pictures" in shown.stdout
    assert "images per second" in shown.stdout
    assert "load it with kswap.load('small-trained')" in shown.stderr


@pytest.mark.parametrize(("options", "replaced"), [(("--ch", "8"), True), (("--no-convert",), False)])
def test_a_name_has_the_classes_of_the_pictures(place: Path, options: tuple[str, ...], replaced: bool) -> None:
    common = ("--data", "photos", "--input-size", "32", "--epochs", "1", "--batch", "4", "--device", "cpu")
    result = run("test_resnet", *options, *common, "--out", "done", "--format", "csv")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("images,epoch,lr,loss")
    found = kswap.load("done")
    assert bool(found.plan.replaced) == replaced
    assert found.source.kwargs == {"num_classes": 3}


def test_blocks_are_fitted_on_the_training_pictures(place: Path) -> None:
    torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), "trained.pth")
    common = ("--data", "photos", "--input-size", "32", "--epochs", "1", "--batch", "4", "--device", "cpu")
    result = run("test_resnet", "--weights", "trained.pth", "--init", "project", "--ch", "8", *common, "--out", "done")
    assert result.exit_code == 0, result.output
    projection = kswap.load("done").report.projection
    assert projection is not None
    assert projection.images == 12


def test_pictures_are_prepared_as_before_when_training_goes_on(place: Path) -> None:
    common = ("--data", "photos", "--epochs", "1", "--batch", "4", "--device", "cpu", "--format", "json")
    first = json.loads(run("small", *common, "--recipe", "papers", "--eval-split", "test").stdout)
    again = json.loads(run("small-trained", *common, "--recipe", "modern", "--eval-split", "test").stdout)
    assert first["settings"]["preprocessing"]["mean"] == [0, 0, 0]
    assert again["settings"]["preprocessing"] == first["settings"]["preprocessing"]
    distilled = kswap.distill("small-trained", kswap.load("small"), "photos", images=8, out="done", device="cpu")
    assert distilled.record.settings["preprocessing"] == first["settings"]["preprocessing"]
    found = kswap.evaluate("done", "photos", split="test", device="cpu", progress=False)
    assert found.preprocessing.to_json() == first["settings"]["preprocessing"]
    changed = run("small-trained", *common, "--preprocessing", "imagenet", "--out", "other")
    assert json.loads(changed.stdout)["settings"]["preprocessing"]["mean"] == [0.485, 0.456, 0.406]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("small", "--ch", "8"), "MODEL is a directory, which is trained as it was saved: leave out --ch"),
        (("small", "--no-convert"), "leave out --no-convert"),
        (("test_resnet", "--no-convert", "--scheme", "v1"), "--no-convert leaves the model as it is: leave out --sch"),
        (("test_resnet", "--num-classes", "7"), "build the model with as many (--num-classes 3)"),
        (("small", "--recipe", "papes"), "unknown recipe 'papes'"),
        (("small", "--recipe", "mine.toml"), "mine.toml"),
        (("small", "--eval-split", "valid"), "no split 'valid'"),
        (("small", "--batch", "0"), "0 is not in the range"),
        (("small", "--amp", "int8"), "'int8' is not one of"),
        (("tset_resnet",), "did you mean"),
        (("small", "--out", "photos"), "photos holds files that are not of kswap"),
        (("small", "--crop", "2"), "crop must be above 0 and at most 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_use_is_one_line(place: Path, arguments: tuple[str, ...], message: str) -> None:
    before = sorted(path.name for path in place.iterdir())
    result = run(*arguments, "--data", "photos", "--device", "cpu")
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert sorted(path.name for path in place.iterdir()) == before
