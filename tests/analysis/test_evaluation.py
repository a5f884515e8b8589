"""Accuracy, against the same done by hand; and the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from pictures_fixture import CLASSES, Flat, noise, png, zipped
from PIL import Image
from torch import nn

import kswap
from kswap.analysis.evaluation import evaluate
from kswap.analysis.loaded_model import logits_of
from kswap.cli.main import main
from kswap.data.images import ImageSet
from kswap.data.preprocessing import Preprocessing
from kswap.errors import DataError, ModelError

SMALL = Preprocessing((3, 16, 16))


def by_hand(model: nn.Module, folder: Path, hflip: bool) -> list[int]:
    """Correct pictures a class, one picture at a time, straight from the files."""
    model.eval()
    correct = []
    for label, name in enumerate(CLASSES):
        found = []
        for file in sorted((folder / "test" / name).glob("[!.]*.png")):
            pixels = np.asarray(Image.open(file), dtype=np.float32) / 255
            ways = [pixels, pixels[:, ::-1]] if hflip else [pixels]
            inputs = [torch.tensor(way.transpose(2, 0, 1).copy())[None] for way in ways]
            with torch.no_grad():
                sums = sum(torch.exp(model(x)) / torch.exp(model(x)).sum() for x in inputs)
            found.append(int(sums.argmax()) == label)
        correct.append(sum(found))
    return correct


@pytest.mark.parametrize("hflip", [False, True])
@pytest.mark.parametrize("batch", [1, 5, 8, 64])
def test_accuracy_is_that_done_by_hand(folder: Path, archive: Path, hflip: bool, batch: int) -> None:
    model = Flat()
    expected = by_hand(model, folder, hflip)
    for data, split in ((folder, "test"), (archive, None)):
        measured = evaluate(model.train(), data, split=split, batch=batch, hflip=hflip, preprocessing=SMALL)
        assert [entry.correct for entry in measured.classes] == expected
        assert [entry.images for entry in measured.classes] == [8, 8, 8]
        assert measured.top1 == sum(expected) / 24
        assert measured.seconds > 0
        assert (measured.split, measured.hflip, measured.preprocessing) == ("test", hflip, SMALL)


def test_the_mirror_makes_a_difference_here(folder: Path) -> None:
    """Otherwise the test above would show nothing."""
    assert by_hand(Flat(), folder, hflip=True) != by_hand(Flat(), folder, hflip=False)


def test_every_module_is_left_in_the_mode_that_it_was_in(archive: Path) -> None:
    model = Flat().train()
    model.linear.eval()
    evaluate(model, archive, preprocessing=SMALL)
    assert (model.training, model.dropout.training, model.linear.training) == (True, True, False)


def test_a_model_that_gives_probabilities_is_taken_at_its_word(folder: Path) -> None:
    model = nn.Sequential(Flat(), nn.Softmax(1))
    measured = evaluate(model, folder, split="test", hflip=True, preprocessing=SMALL)
    assert [entry.correct for entry in measured.classes] == by_hand(Flat(), folder, hflip=True)


def test_a_limit_takes_pictures_of_all_classes(archive: Path) -> None:
    measured = evaluate(Flat(), archive, limit=6, preprocessing=SMALL)
    assert [entry.images for entry in measured.classes] == [2, 2, 2]
    assert evaluate(Flat(), archive, limit=1000, preprocessing=SMALL).images == 24


def test_a_class_without_pictures_has_no_accuracy(tmp_path: Path) -> None:
    members = {f"train/{name}/1.png": png(noise(1)) for name in CLASSES}
    data = zipped(tmp_path / "z.zip", {**members, "test/red/1.png": png(noise(1))})
    measured = evaluate(Flat(), data, split="test", preprocessing=SMALL)
    assert [entry.accuracy is None for entry in measured.classes] == [True, True, False]


def test_half_precision_and_a_data_set_that_is_open_already(archive: Path) -> None:
    measured = evaluate(Flat().to(torch.bfloat16), ImageSet(archive), preprocessing=SMALL)
    assert measured.images == 24


def test_mistakes(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="batch must be at least 1"):
        evaluate(Flat(), archive, batch=0, preprocessing=SMALL)
    with pytest.raises(DataError, match="limit must be at least 1"):
        evaluate(Flat(), archive, limit=0, preprocessing=SMALL)
    with pytest.raises(DataError, match=r"Flat has 5 classes and .* has 3: give pictures of the classes"):
        evaluate(Flat(5), archive, preprocessing=SMALL)
    with pytest.raises(ModelError, match=r"no classifier: it gives a tensor of shape \(24, 3, 16, 16\)"):
        evaluate(nn.Identity(), archive, preprocessing=SMALL)
    with pytest.raises(ModelError, match="unknown model 'no_such_model'"):
        evaluate("no_such_model", archive)
    with pytest.raises(ModelError, match="papers/mobilenet has no published weights here"):
        evaluate("papers/mobilenet", archive)
    data = zipped(tmp_path / "z.zip", {f"{name}/1.png": b"junk" for name in CLASSES})
    with pytest.raises(DataError, match=r"blue/1.png is not a picture"):
        evaluate(Flat(), data, preprocessing=SMALL)


def test_outputs_of_classifiers() -> None:
    logits = torch.zeros(2, 3)
    for output in (logits, (logits, None), [logits], {"logits": logits}, logits[:, :, None, None]):
        assert logits_of(output).shape == (2, 3)
    for wrong in ((), {}, None, torch.zeros(3), torch.zeros(2, 3, dtype=torch.int64)):
        with pytest.raises(ModelError, match="is no classifier"):
            logits_of(wrong)


def command(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), prog_name="kswap")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    conversion = kswap.convert("mobilenetv3_small_050", ch=8, num_classes=3, input_size=(32, 32), device="cpu", seed=0)
    return conversion.save(tmp_path_factory.mktemp("evaluate") / "small")


def test_a_saved_directory_is_evaluated_at_its_own_size(saved: Path, archive: Path) -> None:
    result = command("evaluate", str(saved), "--data", str(archive), "--format", "json", "--hflip", "--device", "cpu")
    assert result.exit_code == 0, result.output
    data: dict[str, Any] = json.loads(result.stdout)
    assert data["preprocessing"]["input_size"] == [3, 32, 32]
    assert (data["images"], data["hflip"], data["split"]) == (24, True, "test")
    assert data["top1"] == sum(entry["correct"] for entry in data["classes"]) / 24
    assert "pictures: 32x32 RGB, resized by cubic, cropped to 0.875" in result.stderr
    again = kswap.evaluate(kswap.load(saved), archive, hflip=True)
    assert again.to_json()["classes"] == data["classes"]


def test_the_table_shows_every_class_and_options_change_the_pictures(saved: Path, folder: Path) -> None:
    options = [
        "--split",
        "test",
        "--preprocessing",
        "papers",
        "--resize",
        "nearest",
        "--input-size",
        "64",
        "--limit",
        "9",
    ]
    result = command("evaluate", str(saved), "--data", str(folder), "--device", "cpu", *options)
    assert result.exit_code == 0, result.output
    assert "64x64 RGB, resized by nearest (pixels repeated), divided by 255 (the papers' way" in result.stderr
    for name in (*CLASSES, "all"):
        assert f"\n{name} " in result.stdout


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--data", "{folder}"], "has the splits test, train: choose one with --split"),
        (["--data", "{folder}/nowhere"], "there is no folder or zip file"),
        (["--data", "{folder}", "--split", "test", "--crop", "7"], "crop must be above 0 and at most 1"),
        (["--data", "{folder}", "--split", "test", "--batch", "0"], "--batch"),
        (["--data", "{folder}", "--split", "test", "--input-size", "big"], "'big' is not a size"),
        ([], "Missing option '--data'"),
    ],
)
def test_mistakes_on_the_command_line(saved: Path, folder: Path, options: list[str], match: str) -> None:
    result = command("evaluate", str(saved), *(option.format(folder=folder) for option in options))
    assert result.exit_code == 2
    assert match in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_directory_whose_classes_do_not_fit(saved: Path, tmp_path: Path) -> None:
    data = zipped(tmp_path / "z.zip", {f"{name}/1.png": png(noise(1)) for name in "ab"})
    result = command("evaluate", str(saved), "--data", str(data))
    assert result.exit_code == 2
    assert "has 3 classes and" in result.stderr
    assert "has 2: give pictures of the classes that the model was trained for" in result.stderr
