"""Accuracy without training against budget: the value, its table and picture, and the command."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from pictures_fixture import noise, png, zipped
from PIL import Image
from torch import nn

from kswap.cli.main import main
from kswap.data.images import ImageSet
from kswap.errors import KswapError
from kswap.report.renderers import text_of
from kswap.transfer.frontier import Frontier, budgets_of, frontier

CLASSES = ("a", "b", "c")


class Wide(nn.Module):
    """Recognises which of three pictures it sees, with two pointwise convolutions that can be smaller."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 48, 4, stride=4), nn.BatchNorm2d(48), nn.ReLU())
        self.first = nn.Sequential(nn.Conv2d(48, 64, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(64, 48, 1), nn.BatchNorm2d(48), nn.ReLU())
        self.head = nn.Linear(48 * 16, len(CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.second(self.first(self.stem(x))).flatten(1))
        return out


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three noises, each seen many times with some more noise: one class each."""
    means = [noise(seed) for seed in range(3)]
    members = {
        f"{split}/{name}/{number}.png": png(Image.blend(means[place], noise(100 + 10 * number + place + start), 0.5))
        for split, start, count in (("train", 0, 8), ("val", 5000, 8))
        for place, name in enumerate(CLASSES)
        for number in range(count)
    }
    return zipped(tmp_path_factory.mktemp("frontier") / "pictures.zip", members)


def trained(pictures: Path) -> Wide:
    """A network whose classifier was fitted to the training pictures in closed form."""
    from kswap.data.preprocessing import Preprocessing

    model = Wide().eval()
    images = ImageSet(pictures, "train")
    prepare = Preprocessing.of(model, (3, 16, 16))
    x = torch.stack([prepare(images.picture(number)) for number in range(len(images))])
    wanted = 4 * torch.nn.functional.one_hot(torch.tensor(images.labels), len(CLASSES)).float()
    with torch.no_grad():
        features = model.second(model.first(model.stem(x))).flatten(1)
        gram = features @ features.T + 1e-2 * torch.eye(len(features))
        model.head.weight.copy_((features.T @ torch.linalg.solve(gram, wanted)).T)
        model.head.bias.zero_()
    return model


@pytest.fixture(scope="module")
def measured(pictures: Path) -> Frontier:
    budgets = ["0.9", "params=0.8", "params=0.001"]
    return frontier(trained(pictures), pictures, budgets, split="val", input_size=(16, 16), progress=False)


def test_each_budget_is_kept_and_measured_on_pictures_of_the_other_split(measured: Frontier) -> None:
    assert measured.data.endswith("split val")
    assert measured.calibration.endswith("split train")
    assert (measured.images, measured.samples) == (24, 24)
    assert measured.original.top1 > 0.8
    assert [point.budget for point in measured.points] == ["params=0.9", "params=0.8"]
    for point, share in zip(measured.points, (0.9, 0.8), strict=True):
        assert point.params <= share * measured.original.params
        assert point.macs < measured.original.macs
        assert point.replaced + point.narrowed >= 1
    assert measured.points[0].top1 > 0.5
    assert len(measured.notes) == 1
    assert "params=0.001: the smallest that can be reached" in measured.notes[0]


def test_all_formats_say_the_same(measured: Frontier) -> None:
    data: dict[str, Any] = json.loads(text_of(measured, "json"))
    rows = list(csv.DictReader(io.StringIO(text_of(measured, "csv"))))
    assert [row["budget"] for row in rows] == ["", "params=0.9", "params=0.8"]
    assert float(rows[1]["top1"]) == data["points"][0]["top1"] == measured.points[0].top1
    assert float(rows[1]["params_ratio"]) == data["points"][0]["params_ratio"]
    text = text_of(measured, "md")
    assert f"{measured.points[0].params:,}" in text
    assert f"{measured.points[0].top1:.2%}" in text
    assert "without training" in text


def test_the_same_seed_gives_the_same_frontier(measured: Frontier, pictures: Path) -> None:
    again = frontier(trained(pictures), pictures, ["0.9"], split="val", input_size=(16, 16), progress=False)
    assert again.points == measured.points[:1]


def test_pictures_that_measure_accuracy_do_not_calibrate(pictures: Path, tmp_path: Path) -> None:
    model = trained(pictures)
    with pytest.raises(KswapError, match="has no other split train: pass calibration="):
        frontier(model, pictures, ["0.9"], split="train", input_size=(16, 16))
    with pytest.raises(KswapError, match="has the splits train, val"):
        frontier(model, pictures, ["0.9"], input_size=(16, 16))
    with pytest.raises(KswapError, match="the smallest that can be reached"):
        frontier(model, pictures, ["0.001"], split="val", input_size=(16, 16), progress=False)
    with pytest.raises(KswapError, match="measured where the model will run"):
        frontier(model, pictures, ["latency=0.9"], split="val")


def test_numbers_alone_are_shares_of_the_parameters() -> None:
    assert [str(budget) for budget in budgets_of(["0.4", "20%", "300K"])] == ["params=0.4", "params=0.2", "params=300K"]
    with pytest.raises(KswapError, match="at least one budget"):
        budgets_of([])


FACTORY = """
from test_frontier import Wide

def wide():
    return Wide().eval()
"""


def test_the_command_prints_a_table_and_writes_a_picture(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "wide.py").write_text(FACTORY)
    figure = tmp_path / "frontier.png"
    arguments = ["frontier", f"{tmp_path / 'wide.py'}:wide", "--data", str(pictures), "--split", "val", "--limit", "6"]
    options = ["--input-size", "16", "--budgets", "0.9 macs=0.9", "--scoring", "error", "--images", "12"]
    result = CliRunner().invoke(main, [*arguments, *options, "--device", "cpu", "--figure", str(figure)])
    assert result.exit_code == 0, result.output
    assert "params=0.9" in result.stdout
    assert "macs=0.9" in result.stdout
    assert "original" in result.stdout
    with Image.open(figure) as picture:
        assert picture.width > 400


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--budgets", "many"], "'many' is not a number of params"),
        (["--budgets", "speed=0.2"], "cannot limit 'speed'"),
        (["--figure", "frontier.jpg"], "give frontier.jpg the suffix .png"),
        (["--figure", "nowhere/frontier.png"], "there is no folder nowhere"),
        (["--pretrained", "--weights", "mine.pth"], "both say where the trained weights come from"),
    ],
)
def test_mistakes_are_one_sentence(pictures: Path, options: list[str], sentence: str) -> None:
    result = CliRunner().invoke(main, ["frontier", "test_resnet", "--data", str(pictures), "--split", "val", *options])
    assert result.exit_code == 2
    assert sentence in result.stderr
