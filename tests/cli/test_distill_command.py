"""``kswap distill``: from a saved directory to another, and one line for every mistake."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from transfer_fixture import student, teacher, unlabelled

import kswap
from kswap.cli.main import main

RECIPE = "batch = 4\nimages = 8\nevaluations = 1\n"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["distill", *arguments], prog_name="kswap")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    student().save(folder / "small")
    kswap.convert(teacher(), ch=64, input_size=(32, 32), seed=1).save(folder / "big")
    return folder


@pytest.fixture
def place(models: Path, tmp_path: Path) -> Path:
    """A saved conversion, its teacher as another, a recipe and pictures."""
    for name in ("small", "big"):
        shutil.copytree(models / name, tmp_path / name)
    unlabelled(tmp_path / "photos", 8)
    (tmp_path / "mine.toml").write_text(RECIPE)
    return tmp_path


def test_a_saved_conversion_is_distilled_and_saved(place: Path) -> None:
    common = ("--teacher", str(place / "big"), "--data", str(place / "photos"), "--recipe", str(place / "mine.toml"))
    result = run(str(place / "small"), *common, "--device", "cpu", "--format", "json")
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert data["images"] == 8
    assert data["teacher_top1"] is None
    assert data["directory"] == str(place / "small-distilled")
    assert kswap.load(place / "small-distilled").plan == kswap.load(place / "small").plan
    shown = run(str(place / "small"), *common, "--device", "cpu")  # done already
    assert shown.exit_code == 0
    assert "8 images seen" in shown.stdout
    assert "there are no labels: pass labelled pictures with --eval-data" in shown.stdout
    assert f"load it with kswap.load('{place / 'small-distilled'}')" in shown.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--images", "8", "--epochs", "1"), "images or epochs, not both"),
        (("--recipe", "none"), "unknown recipe 'none'"),
        (("--recipe", "missing.toml"), "missing.toml cannot be read"),
        (("--teacher", "no_such_model"), "no_such_model"),
        (("--data", "nowhere"), "there is no folder or zip file nowhere"),
        (("--split", "train"), "has no folder 'train'"),
        (("--images", "0"), "--images"),
        (("--device", "gpu"), "unknown device 'gpu'"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line(place: Path, arguments: tuple[str, ...], message: str) -> None:
    given = {"--teacher": str(place / "big"), "--data": str(place / "photos"), "--device": "cpu"}
    given |= dict(zip(arguments[::2], arguments[1::2], strict=True))
    result = run(str(place / "small"), *(word for pair in given.items() for word in pair))
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if not line.startswith("pictures:")]
    assert len(lines) == 1
    assert message in lines[0]
    assert sorted(path.name for path in place.iterdir()) == ["big", "mine.toml", "photos", "small"]
