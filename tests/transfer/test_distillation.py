"""Distillation from the original: what is learned, what stays, and what happens to wrong input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pictures_fixture import noise
from transfer_fixture import QUICK, same, student, teacher, unlabelled, weights_of

import kswap
from kswap.data.preprocessing import Preprocessing
from kswap.errors import DataError, KswapError, SavedError, TrainingError
from kswap.transfer.record import Distillation


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unlabelled(tmp_path_factory.mktemp("distill") / "pictures")


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Three classes with 4 pictures to train and 2 held out."""
    for split, count in (("train", 4), ("val", 2)):
        for number, name in enumerate("abc"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for one in range(count):
                noise(10 * number + one, (40, 36)).save(tmp_path / "data" / split / name / f"{one}.png")
    return tmp_path / "data"


def distilled(data: Path, **arguments: Any) -> Distillation:
    return kswap.distill(student(), teacher(), data, progress=False, **{"recipe": QUICK, "images": 40, **arguments})


def test_the_student_comes_nearer_to_the_teacher_and_arguments_stay_as_they_are(pictures: Path) -> None:
    original = teacher().train()
    conversion = student()
    before, old = weights_of(conversion), {k: v.clone() for k, v in original.state_dict().items()}
    drawn = torch.get_rng_state()
    done = kswap.distill(conversion, original, pictures, recipe=QUICK, images=200, progress=False)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert original.training
    assert all(parameter.requires_grad for parameter in original.parameters())
    assert same(old, original.state_dict())
    assert same(before, weights_of(conversion))
    assert not done.conversion.model.training
    assert type(done.conversion.model) is type(original)
    assert done.images == 200
    (_, first), (_, last) = done.losses
    assert last < first / 2
    prepared = Preprocessing.of(original, (3, 32, 32))
    x = torch.stack([prepared(noise(number, (40, 36))) for number in range(10)])
    with torch.no_grad():
        aim, begun, ended = (m.eval()(x).softmax(1) for m in (original, conversion.model, done.conversion.model))
    assert (ended - aim).abs().mean() < (begun - aim).abs().mean() / 2


@pytest.mark.parametrize("changes", [{}, {"augment": "crop-flip"}, {"loss": "features"}], ids=str)
def test_the_same_arguments_give_the_same_weights(pictures: Path, changes: dict[str, Any]) -> None:
    recipe = replace(QUICK, **changes)
    first, again, other = (distilled(pictures, recipe=recipe, seed=seed) for seed in (3, 3, 4))
    assert same(weights_of(first.conversion), weights_of(again.conversion))
    assert not same(weights_of(first.conversion), weights_of(other.conversion))
    assert not same(weights_of(first.conversion), weights_of(student()))


def test_frozen_norms_keep_their_statistics_and_learn_scale_and_shift(pictures: Path) -> None:
    before = weights_of(student())
    for norms, kept in (("frozen", True), ("trained", False), ("auto", False)):  # its blocks are fresh
        after = weights_of(distilled(pictures, recipe=replace(QUICK, norms=norms)).conversion)
        assert torch.equal(before["bn1.running_mean"], after["bn1.running_mean"]) == kept
        assert not torch.equal(before["bn1.weight"], after["bn1.weight"])


def test_answers_that_are_kept_are_those_that_the_teacher_gives(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = distilled(pictures)
    monkeypatch.setattr("kswap.transfer.teacher._MOST_BYTES", 0)
    asked = distilled(pictures)
    for name, tensor in weights_of(asked.conversion).items():
        torch.testing.assert_close(tensor, weights_of(kept.conversion)[name], rtol=1e-3, atol=1e-4)


def test_accuracy_is_measured_on_the_held_out_split(classes: Path) -> None:
    done = distilled(classes, images=24)
    assert [images for images, _ in done.accuracies] == [0, 12, 24]
    assert done.record.examined == f"{classes}, split val"
    assert done.record.examined_images == 6
    assert done.after == done.accuracies[-1][1]
    measured = kswap.evaluate(done.conversion, classes, split="val", progress=False)
    assert measured.top1 == done.after
    assert kswap.evaluate(
        teacher(), classes, split="val", progress=False, preprocessing=measured.preprocessing
    ).top1 == (done.record.teacher_top1)


def test_accuracy_on_training_pictures_is_called_that(classes: Path) -> None:
    done = distilled(classes / "train", images=4)
    assert done.record.examined == f"{classes / 'train'} (training pictures)"
    assert distilled(classes / "train" / "a", images=4).record.examined is None


def test_best_weights_are_kept_where_they_are_asked_for(classes: Path, tmp_path: Path) -> None:
    recipe = replace(QUICK, evaluations=6)
    done = distilled(classes, recipe=recipe, images=48, keep="best", out=tmp_path / "best")
    top1 = [accuracy for _, accuracy in done.accuracies[1:]]
    assert done.after == max(top1)
    assert kswap.evaluate(tmp_path / "best", classes, split="val", progress=False, device="cpu").top1 == max(top1)
    again = distilled(classes, recipe=recipe, images=48, out=tmp_path / "last")
    assert (tmp_path / "last" / "best.safetensors").is_file()
    assert again.after == top1[-1]


def test_labels_are_learned_where_there_are_some(classes: Path) -> None:
    recipe = replace(QUICK, label_weight=1.0)
    with_labels = distilled(classes, recipe=recipe, images=24)
    assert not same(weights_of(with_labels.conversion), weights_of(distilled(classes, images=24).conversion))
    with pytest.raises(DataError, match=r"do not lie in class folders: arrange them so, or set label_weight = 0"):
        distilled(classes / "train" / "a", recipe=recipe)


def test_the_result_is_a_saved_conversion(pictures: Path, tmp_path: Path) -> None:
    done = distilled(pictures, out=tmp_path / "done")
    assert [path.name for path in tmp_path.iterdir()] == ["done"]
    loaded = kswap.load(tmp_path / "done")
    assert same(weights_of(loaded), weights_of(done.conversion))
    record = json.loads((tmp_path / "done" / "distillation.json").read_text())
    assert record["images"] == 40
    assert record["settings"]["recipe"]["temperature"] == 2.0
    again = distilled(pictures, out=tmp_path / "done")
    assert again.seconds == done.seconds  # nothing was trained again
    assert same(weights_of(again.conversion), weights_of(done.conversion))
    with pytest.raises(SavedError, match="exists already"):
        distilled(pictures, out=tmp_path / "done", seed=1)
    forced = distilled(pictures, out=tmp_path / "done", seed=1, force=True)
    assert same(weights_of(kswap.load(tmp_path / "done")), weights_of(forced.conversion))
    loaded.save(tmp_path / "done", force=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 1}, "images or epochs, not both"),
        ({"images": 0}, "images must be at least 1"),
        ({"images": None, "epochs": -1}, "epochs must be above 0"),
        ({"recipe": "distil"}, "unknown recipe 'distil': known are distill, distill-quick; did you mean distill"),
        ({"recipe": {"lr": "high"}}, "lr of the recipe must be a number, not 'high'"),
        ({"recipe": {"optimizer": "adamm"}}, "unknown optimizer 'adamm'"),
        ({"recipe": {"norms": "thawed"}}, "norms of the recipe must be one of auto, frozen, trained"),
        ({"lr": 0.0}, "lr of the recipe must be between"),
        ({"keep": "first"}, "keep must be 'last' or 'best'"),
        ({"split": "train"}, "its pictures lie in no folders"),
        ({"eval_split": "val"}, "has pictures but no class folders"),
    ],
    ids=str,
)
def test_wrong_arguments_are_one_sentence(pictures: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(KswapError, match=message):
        distilled(pictures, **arguments)


def test_a_teacher_with_other_classes_and_one_that_is_no_classifier(pictures: Path) -> None:
    import timm

    with pytest.raises(
        TrainingError, match=r"the teacher ResNet has 4 classes and .* has 3: pass the model that it was"
    ):
        kswap.distill(student(), timm.create_model("test_resnet", num_classes=4), pictures)
    with pytest.raises(KswapError, match="not a classifier"):
        kswap.distill(student(), torch.nn.Conv2d(3, 3, 1), pictures)
    with pytest.raises(TrainingError, match=r"a ResNet cannot be distilled: pass what kswap.convert returned"):
        kswap.distill(teacher(), teacher(), pictures)  # type: ignore[arg-type]


def test_a_loss_that_is_no_number_is_one_sentence(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the loss is no finite number after .* images"):
        distilled(pictures, lr=100.0, images=4000, out=tmp_path / "done", recipe=replace(QUICK, optimizer="sgd"))
    assert not (tmp_path / "done").exists()


def test_a_damaged_picture_is_one_sentence(pictures: Path, tmp_path: Path) -> None:
    folder = unlabelled(tmp_path / "damaged", 4)
    (folder / "9.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"9.png is not a picture"):
        distilled(folder)


def test_the_teacher_is_the_original_with_weights_of_a_file(pictures: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": teacher().state_dict()}, tmp_path / "trained.pth")
    by_module = distilled(pictures)
    for name in (None, "test_resnet"):
        done = kswap.distill(
            student(),
            name,
            pictures,
            teacher_weights=tmp_path / "trained.pth",
            recipe=QUICK,
            images=40,
            progress=False,
        )
        assert same(weights_of(done.conversion), weights_of(by_module.conversion))
    with pytest.raises(TrainingError, match=r"has no published weights for these classes: pass the trained original"):
        kswap.distill(student(), None, pictures)
    with pytest.raises(TrainingError, match="only be given with a teacher's name"):
        kswap.distill(student(), teacher(), pictures, teacher_weights=tmp_path / "trained.pth")
