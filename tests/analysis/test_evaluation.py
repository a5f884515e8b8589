"""Accuracy, against the same done by hand; and the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from click.testing import CliRunner, Result
from pictures_fixture import CLASSES, Flat, noise, png, zipped
from PIL import Image
from torch import Tensor, nn

import kswap
from kswap.analysis.evaluation import evaluate
from kswap.analysis.loaded_model import logits_of
from kswap.analysis.untrained import untrained_reason
from kswap.cli.main import main
from kswap.data.images import ImageSet
from kswap.data.preprocessing import Preprocessing
from kswap.errors import DataError, ModelError
from kswap.progress import ProgressBar

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
    with pytest.raises(DataError, match=r"Flat has 5 classes and .* has 3: pass pictures of the classes"):
        evaluate(Flat(5), archive, preprocessing=SMALL)
    with pytest.raises(ModelError, match=r"not a classifier: it returns a tensor of shape \(24, 3, 16, 16\)"):
        evaluate(nn.Identity(), archive, preprocessing=SMALL)
    with pytest.raises(ModelError, match="unknown model 'no_such_model'"):
        evaluate("no_such_model", archive)
    with pytest.raises(ModelError, match="papers/mobilenet has no published weights here"):
        evaluate("papers/mobilenet", archive)
    data = zipped(tmp_path / "z.zip", {f"{name}/1.png": b"junk" for name in CLASSES})
    with pytest.raises(DataError, match=r"blue/1.png is not a picture"):
        evaluate(Flat(), data, preprocessing=SMALL)


def test_workers_read_the_same_pictures_in_the_same_order(folder: Path, archive: Path) -> None:
    for data in (folder, archive):
        alone, helped = (
            evaluate(Flat(), data, split="test", batch=5, workers=workers, preprocessing=SMALL) for workers in (0, 2)
        )
        assert alone.classes == helped.classes


def test_a_damaged_picture_is_one_sentence_out_of_a_worker_too(folder: Path) -> None:
    (folder / "test" / "green" / "5.png").write_bytes(b"junk")
    for workers in (0, 1):
        with pytest.raises(DataError, match=r"green/5\.png is not a picture") as caught:
            evaluate(Flat(), folder, split="test", workers=workers, preprocessing=SMALL)
        assert "\n" not in str(caught.value)


def test_a_picture_that_does_not_fit_is_named(tmp_path: Path) -> None:
    data = zipped(tmp_path / "z.zip", {f"{name}/1.png": png(noise(1, (70_000, 1))) for name in CLASSES})
    with pytest.raises(DataError, match=r"blue/1\.png: a picture of 70,000 x 1 pixels is too narrow"):
        evaluate(Flat(), data, preprocessing=Preprocessing((3, 1_000, 1_000)))


@pytest.mark.filterwarnings("ignore:.*was never trained")
@pytest.mark.parametrize("workers", [0, 1])
def test_no_global_state_changes(folder: Path, workers: int) -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5), Flat()).train()
    model[0].eval()
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    evaluate(model, folder, split="test", workers=workers, preprocessing=SMALL, progress=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()
    assert [module.training for module in model] == [False, True, True]


def test_modes_come_back_after_an_error(folder: Path) -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), Flat(5)).train()
    model[0].eval()
    with pytest.raises(DataError, match="has 5 classes"):
        evaluate(model, folder, split="test", preprocessing=SMALL)
    assert [module.training for module in model] == [False, True]


@pytest.mark.parametrize(("hflip", "expected"), [(False, [10, 10, 4]), (True, [5, 5, 5, 5, 2, 2])])
def test_the_bar_moves_after_each_pass(
    archive: Path, monkeypatch: pytest.MonkeyPatch, hflip: bool, expected: list[float]
) -> None:
    events: list[float | str] = []
    monkeypatch.setattr(ProgressBar, "advance", lambda self, steps=1, note="": events.append(steps))

    class Watched(Flat):
        def forward(self, x: Tensor) -> Tensor:
            events.append("pass")
            return super().forward(x)

    evaluate(Watched(), archive, batch=10, hflip=hflip, preprocessing=SMALL)
    assert events == [event for steps in expected for event in ("pass", steps)]


def trained(model: nn.Module) -> nn.Module:
    """After one small step."""
    optimizer = torch.optim.SGD(model.train().parameters(), lr=1e-4)
    model(torch.randn(4, 3, 64, 64)).square().sum().backward()
    optimizer.step()
    return model


@pytest.mark.parametrize("name", ["test_efficientnet", "convnext_atto"])
def test_weights_that_were_never_trained_are_told_from_others(name: str) -> None:
    """The second has no batch norms."""
    model = kswap.convert(name, ch=16, device="cpu", seed=0).model
    assert re.fullmatch(r"(\d+) of its \1 blocks have fresh weights", untrained_reason(model) or "")
    assert untrained_reason(trained(model)) is None


def test_a_model_without_blocks_is_known_by_its_norms() -> None:
    model = timm.create_model("test_resnet")
    assert untrained_reason(model) == "its norms have never seen a training batch"
    assert untrained_reason(trained(model)) is None
    assert untrained_reason(Flat()) is None


def test_outputs_of_classifiers() -> None:
    logits = torch.zeros(2, 3)
    for output in (logits, (logits, None), [logits], {"logits": logits}, logits[:, :, None, None]):
        assert logits_of(output).shape == (2, 3)
    for wrong in ((), {}, None, torch.zeros(3), torch.zeros(2, 3, dtype=torch.int64)):
        with pytest.raises(ModelError, match="is not a classifier"):
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
    with pytest.warns(UserWarning, match="was never trained"):
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


def test_the_command_warns_of_fresh_weights_and_says_so_in_every_format(saved: Path, archive: Path) -> None:
    found = {}
    for format_ in ("json", "md", "csv"):
        result = command("evaluate", str(saved), "--data", str(archive), "--device", "cpu", "--format", format_)
        assert result.exit_code == 0, result.output
        assert "was never trained: " in result.stderr
        assert "its accuracy means nothing before training" in result.stderr
        found[format_] = result.stdout
    data = json.loads(found["json"])
    assert data["untrained"].endswith("blocks have fresh weights")
    counts = [str(entry["correct"]) for entry in data["classes"]]
    rows = [line.split(",") for line in found["csv"].splitlines()]
    assert [row[:3] for row in rows] == [
        ["name", "images", "correct"],
        *(list(row) for row in zip(CLASSES, "888", counts, strict=True)),
    ]
    assert "| blue | 8 |" in found["md"]
    assert "**Never trained**" in found["md"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--data", "{folder}"], "has the splits test, train: choose one with --split"),
        (["--data", "{folder}/nowhere"], "there is no folder or zip file"),
        (
            ["--data", "{folder}", "--split", "test", "--weights", "a.pth"],
            "--weights can only be given with a model's name",
        ),
        (
            ["--data", "{folder}", "--split", "test", "--num-classes", "3"],
            "--num-classes says what --weights were trained",
        ),
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
    assert "has 2: pass pictures of the classes that the model was trained for" in result.stderr


def test_a_name_is_built_with_arguments_of_its_builder(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = trained(timm.create_model("test_resnet", num_classes=3, channels=[32, 32, 32, 32]))
    torch.save(model.state_dict(), tmp_path / "mine.pth")
    wanted = evaluate(model, folder, split="test", device="cpu")
    mine = ("evaluate", "test_resnet", "--weights", f"{tmp_path}/mine.pth", "--data", str(folder), "--num-classes", "3")
    more = ("--split", "test", "--device", "cpu", "--format", "json")
    result = command(*mine, "--model-kwarg", "channels=[32,32,32,32]", *more)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["classes"] == wanted.to_json()["classes"]
    assert command(*mine, *more).exit_code == 2  # these weights do not fit
    with pytest.raises(ModelError, match=r"channels=\.\.\. is for a model's builder, and only a name has one"):
        evaluate(model, folder, split="test", channels=[32])


def test_a_name_is_evaluated_with_weights_of_a_file(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = trained(timm.create_model("test_efficientnet", num_classes=3))
    torch.save({"state_dict": model.state_dict()}, tmp_path / "mine.pth")
    wanted = evaluate(model, folder, split="test", device="cpu")
    mine = ("evaluate", "test_efficientnet", "--weights", f"{tmp_path}/mine.pth", "--data", str(folder))
    result = command(*mine, "--num-classes", "3", "--split", "test", "--device", "cpu", "--format", "json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["classes"] == wanted.to_json()["classes"]
