"""Supervised training: what is learned and measured, what is kept and written, and what happens to wrong input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training_fixture import QUICK, classes, network, trained, weights_of
from transfer_fixture import same

import kswap
from kswap.data.held_out import hold_out
from kswap.data.images import ImageSet
from kswap.errors import DataError, KswapError, TrainingError
from kswap.training.baseline import unconverted
from kswap.training.classifier import Classifier


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return classes(tmp_path_factory.mktemp("training") / "data", train=8, test=4)


def test_a_network_learns_and_arguments_stay_as_they_are(data: Path) -> None:
    before, drawn = network().model.state_dict(), torch.get_rng_state()
    copied = {name: tensor.clone() for name, tensor in before.items()}
    done = trained(data, epochs=6)
    assert same(copied, network().model.state_dict())
    assert torch.equal(drawn, torch.get_rng_state())
    assert not done.conversion.model.training
    losses = [measured.loss for measured in done.record.measured]
    assert losses[-1] is not None
    assert losses[0] is not None
    assert losses[-1] < losses[0]
    assert done.top1 is not None
    assert done.top1 > 0.8
    assert done.record.images == 144
    assert done.record.epochs == 6
    assert done.record.images_per_second > 0
    assert done.record.validation == f"{data}, split test"


def test_the_same_arguments_give_the_same_weights(data: Path) -> None:
    first, again, other = (trained(data, seed=seed) for seed in (3, 3, 4))
    assert same(weights_of(first), weights_of(again))
    assert not same(weights_of(first), weights_of(other))
    assert first.record.settings == again.record.settings
    assert first.record.settings["weights"] == other.record.settings["weights"]  # those that both began with


@pytest.mark.parametrize("recipe", ["papers", "modern", "quick"])
def test_recipes_that_come_with_kswap_run(data: Path, recipe: str) -> None:
    done = trained(data, recipe=recipe, epochs=1, batch=8, eval_data=data, eval_split="test")
    assert done.record.kept == ("last" if recipe == "quick" else "best")
    assert done.record.tested is not None
    assert done.record.tested.images == 12


def test_the_result_is_loaded_and_evaluated_as_any_other(data: Path, tmp_path: Path) -> None:
    done = trained(data, out=tmp_path / "done", recipe={**QUICK, "preprocessing": "papers", "resize": "nearest"})
    assert [path.name for path in tmp_path.iterdir()] == ["done"]
    loaded = kswap.load(tmp_path / "done")
    assert same(weights_of(done), loaded.model.state_dict())
    for hflip, expected in ((False, done.top1), (True, done.top1_hflip)):
        found = kswap.evaluate(tmp_path / "done", data, split="test", hflip=hflip, device="cpu", progress=False)
        assert found.top1 == expected  # with the pictures prepared as in training
    record = json.loads((tmp_path / "done" / "training.json").read_text())
    assert record["classes"] == ["a", "b", "c"]
    assert len(record["measured"]) == 2
    assert (tmp_path / "done" / "training.png").read_bytes().startswith(b"\x89PNG")
    assert {"best.safetensors", "last.safetensors"} < {path.name for path in (tmp_path / "done").iterdir()}


def test_a_run_that_is_done_is_not_done_again(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = trained(data, out=tmp_path / "done")
    monkeypatch.setattr("kswap.training.run.TrainingRun.train", lambda *_: pytest.fail("trained again"))
    again = trained(data, out=tmp_path / "done")
    assert again.record == done.record
    assert same(weights_of(done), weights_of(again))


def test_best_weights_are_those_of_the_best_measurement(data: Path) -> None:
    recipe = {**QUICK, "lr": 0.5, "evaluations": 4}  # goes up and down
    done = trained(data, recipe=recipe, keep="best", eval_data=data, eval_split="test")
    best = max(measured.top1 or 0 for measured in done.record.measured)
    assert done.top1 == best
    by_loss = trained(data, recipe={**recipe, "best_by": "loss"}, keep="best", eval_data=data, eval_split="test")
    assert by_loss.record.tested is not None
    assert by_loss.record.tested.loss == pytest.approx(min(m.eval_loss or 9 for m in by_loss.record.measured), rel=1e-4)


def test_a_tenth_is_held_out_where_weights_are_chosen(data: Path) -> None:
    done = trained(data, recipe={**QUICK, "held_out": 0.25, "keep": "best"})
    assert done.record.train_images == 18
    assert done.record.validation_images == 6
    assert done.record.tested is not None
    assert done.record.tested.data == f"{data}, split test"


def test_a_set_that_is_open_is_taken_as_it_is(data: Path) -> None:
    train, held = hold_out(ImageSet(data, "train"), 0.25)
    done = kswap.train(network(), train, recipe=QUICK, epochs=1, eval_data=held, progress=False)
    assert (done.record.train_images, done.record.validation_images) == (18, 6)
    assert done.record.tested is not None
    assert done.record.tested.data == f"{data}, split test"


def test_several_sources_hold_the_splits_together(data: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        shutil.make_archive(str(tmp_path / split), "zip", data, split)
    done = kswap.train(
        network(), [tmp_path / "train.zip", tmp_path / "test.zip"], recipe=QUICK, epochs=1, progress=False
    )
    assert (done.record.train_images, done.record.validation_images) == (24, 12)


def test_what_forms_no_set_is_refused(data: Path) -> None:
    with pytest.raises(DataError, match=r"train has no splits, and other data beside it has: pass together only what"):
        trained([data, data / "train"])  # type: ignore[arg-type]


def test_a_picture_that_cannot_be_read_leaves_nothing_behind(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data" / "train" / "a" / "0.png").write_bytes(b"no picture")
    for changes in ({}, {"augment": {"crop_least": 0.5}}):
        with pytest.raises(DataError, match=r"a/0\.png is not a picture that kswap reads"):
            trained(tmp_path / "data", recipe={**QUICK, **changes}, out=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_baseline_is_trained_saved_and_loaded(data: Path, tmp_path: Path) -> None:
    baseline = unconverted("test_resnet", num_classes=3, device="cpu", seed=0, input_size=(32, 32))
    assert not baseline.plan.replaced
    done = kswap.train(baseline, data, recipe=QUICK, epochs=1, progress=False, out=tmp_path / "base")
    assert same(weights_of(done), kswap.load(tmp_path / "base").model.state_dict())
    assert done.record.params == network().plan.before.trainable_params


def test_a_moving_average_is_what_is_kept(data: Path) -> None:
    plain, averaged = (trained(data, recipe={**QUICK, "ema": ema}) for ema in (0, 0.9))
    assert plain.record.measured[0].loss == averaged.record.measured[0].loss
    assert not same(weights_of(plain), weights_of(averaged))


def test_frozen_norms_keep_their_statistics(data: Path) -> None:
    before = network().model.state_dict()["bn1.running_mean"]
    for norms, kept in (("frozen", True), ("trained", False)):
        after = weights_of(trained(data, recipe={**QUICK, "norms": norms}))
        assert torch.equal(before, after["bn1.running_mean"]) == kept


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_mixed_precision(data: Path, amp: str) -> None:
    done = trained(data, amp=amp)
    assert all(tensor.dtype != torch.bfloat16 for tensor in weights_of(done).values())
    assert not same(weights_of(done), weights_of(trained(data)))


def test_workers_read_what_one_process_reads(data: Path) -> None:
    recipe = {**QUICK, "epochs": 1, "augment": {"crop_least": 0.5, "flip": "random", "policy": "rand-m6"}}
    assert same(weights_of(trained(data, recipe=recipe, workers=2)), weights_of(trained(data, recipe=recipe)))


def test_pictures_that_do_not_fit_into_memory(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = trained(data, epochs=1)
    monkeypatch.setattr("kswap.training.pictures.MOST_BYTES", 100)
    monkeypatch.setattr("kswap.training.pictures.TensorPictures.__init__.__defaults__", (100, True))
    assert same(weights_of(kept), weights_of(trained(data, epochs=1)))


def test_probabilities_are_trained_as_what_they_are() -> None:
    class Distribution(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x.flatten(1)).softmax(1)

    model, x = Distribution(), torch.randn(5, 1, 2, 2)
    expected = nn.functional.cross_entropy(model.linear(x.flatten(1)), torch.zeros(5, dtype=torch.long))
    found = nn.functional.cross_entropy(Classifier(model, distributes=True)(x), torch.zeros(5, dtype=torch.long))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recipe": "quik"}, r"unknown recipe 'quik'.*did you mean quick\?"),
        ({"recipe": {"optimizer": "adamm"}}, r"unknown optimizer 'adamm'"),
        ({"recipe": {"optimizer_options": {"speed": 3}}}, "the optimizer sgd does not take these options"),
        ({"recipe": {"optimizer_options": {"lr": 3}}}, "the optimizer sgd does not take these options"),
        ({"recipe": {"schedule": {"name": "sine"}}}, "must be one of cosine"),
        ({"recipe": {"augment": {"policy": "foo"}}}, "no augmentation policy 'foo'"),
        ({"recipe": {"augment": {"policy": "rand-m6", "rotation": 3}}}, "leave one of them out"),
        ({"recipe": {"batch": 3, "mixup": 0.2}}, "the batch must be even, not 3"),
        ({"recipe": {**QUICK, "keep": "best"}, "eval_split": "valid"}, "has no split 'valid'"),
        ({"recipe": {**QUICK, "keep": "best"}}, "no pictures for validation to choose the best weights by"),
        ({"epochs": 0}, "epochs of the recipe"),
        ({"data": []}, "data must be a path"),
        ({"keep": "first"}, "keep must be 'last' or 'best'"),
        ({"amp": "int8"}, "amp must be one of off, bf16, fp16"),
    ],
    ids=str,
)
def test_wrong_input_is_one_sentence(data: Path, tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(KswapError, match=message):
        trained(arguments.pop("data", data), out=tmp_path / "out", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_diverges_says_what_to_change(data: Path, tmp_path: Path) -> None:
    recipe = {**QUICK, "lr": 99.0, "optimizer_options": {"momentum": 0.99}, "epochs": 20}
    with pytest.raises(TrainingError, match=r"the loss is no finite number after .*try a lower one \(lr=\)"):
        trained(data, recipe=recipe, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_wrong_models_are_one_sentence(data: Path) -> None:
    other = kswap.convert("test_resnet", ch=8, num_classes=5, device="cpu", input_size=(32, 32), seed=1)
    with pytest.raises(DataError, match=r"has 5 classes and .* has 3: build the model with as many \(num_classes=3\)"):
        kswap.train(other, data)
    with pytest.raises(TrainingError, match=r"a ResNet cannot be trained: pass what kswap\.convert returned"):
        kswap.train(network().model, data)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="there is no directory resnet18"):
        kswap.train("resnet18", data)
