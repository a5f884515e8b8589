"""One command from a trained model to a small one: its stages, its report, and going on after being stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from pictures_fixture import noise
from torch import nn
from transfer_fixture import QUICK, same, teacher, weights_of

import kswap
from kswap.cli.main import main
from kswap.errors import KswapError
from kswap.transfer.compression_record import Compression


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes with 4 pictures to train and 2 held out, and trained weights beside them."""
    root = tmp_path_factory.mktemp("compress")
    for split, count in (("train", 4), ("val", 2)):
        for number, name in enumerate("abc"):
            (root / "data" / split / name).mkdir(parents=True)
            for one in range(count):
                noise(10 * number + one, (40, 36)).save(root / "data" / split / name / f"{one}.png")
    torch.save(teacher().state_dict(), root / "trained.pth")
    return root / "data"


def compressed(data: Path, out: Path, **arguments: Any) -> Compression:
    common = {"weights": data.parent / "trained.pth", "num_classes": 3, "input_size": (32, 32), "device": "cpu"}
    common |= {"recipe": QUICK, "images": 24, "calibration_images": 12, "progress": False, "ch": 8}
    common |= arguments
    return kswap.compress("test_resnet", data, out, **{k: v for k, v in common.items() if v is not None})


def test_every_stage_is_reported_with_its_accuracy(data: Path, tmp_path: Path) -> None:
    done = compressed(data, tmp_path / "small")
    assert [stage.name for stage in done.stages] == ["original", "planned", "projected", "distilled"]
    assert all(stage.top1 is not None for stage in done.stages if stage.name != "planned")
    loaded = kswap.load(tmp_path / "small")
    assert same(weights_of(loaded), weights_of(done.conversion))
    assert loaded.report.projection is not None
    shown = {accuracy.stage: accuracy for accuracy in loaded.report.projection.accuracies}
    assert {name: found.top1 for name, found in shown.items()} == {
        stage.name: stage.top1 for stage in done.stages if stage.top1 is not None
    }
    assert shown["distilled"].images == 6
    assert shown["distilled"].data.endswith("split val")
    measured = kswap.evaluate(loaded, data, split="val", progress=False)
    assert measured.top1 == shown["distilled"].top1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small"]
    again = compressed(data, tmp_path / "small")
    assert again.stages == done.stages  # read, not done again
    assert same(weights_of(again.conversion), weights_of(done.conversion))


def plain() -> nn.Module:
    """One site, for what takes long with many."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=4), nn.Conv2d(32, 48, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 3)
        )


def within(data: Path, out: Path) -> Compression:
    return kswap.compress(
        plain(),
        data,
        out,
        budget="params=0.7",
        input_size=(3, 32, 32),
        recipe=QUICK,
        images=24,
        calibration_images=12,
        progress=False,
    )


def test_a_budget_is_kept_and_a_module_stays_as_it_is(data: Path, tmp_path: Path) -> None:
    done = within(data, tmp_path / "small")
    assert done.conversion.report.params.ratio <= 0.7
    assert {site.placement for site in done.conversion.plan.replaced} == {"linear"}
    assert same(weights_of(kswap.load(tmp_path / "small", model=plain())), weights_of(done.conversion))
    model = plain()
    kswap.compress(model, data, tmp_path / "ch", ch=8, input_size=(32, 32), recipe=QUICK, images=4, progress=False)
    assert same(plain().state_dict(), model.state_dict())
    assert model.training


def test_it_goes_on_after_being_stopped_in_any_stage(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import kswap.transfer.compression as stages

    undisturbed = within(data, tmp_path / "whole")
    counts = dict.fromkeys(("block_library", "convert", "distill"), 0)

    def stopping(name: str) -> Any:
        own = getattr(stages, name)

        def once(*given: Any, **arguments: Any) -> Any:
            counts[name] += 1
            if counts[name] == 1:
                raise KeyboardInterrupt
            return own(*given, **arguments)

        return once

    for name in counts:
        monkeypatch.setattr(stages, name, stopping(name))
    for _ in counts:
        with pytest.raises(KeyboardInterrupt):
            within(data, tmp_path / "small")
        assert not (tmp_path / "small").exists()
    done = within(data, tmp_path / "small")
    assert counts == {"block_library": 2, "convert": 2, "distill": 2}  # what was done is not done again
    assert same(weights_of(done.conversion), weights_of(undisturbed.conversion))
    assert all(stage.seconds > 0 for stage in done.stages[1:])
    assert not (tmp_path / "small.compressing").exists()


def test_other_settings_do_not_continue_it(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("kswap.transfer.compression.distill", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            compressed(data, tmp_path / "small")
    with pytest.raises(KswapError, match=r"unfinished run with other settings \(images: 24, now 28\)"):
        compressed(data, tmp_path / "small", images=28)
    assert compressed(data, tmp_path / "small", images=28, resume=False).distillation.images == 28


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": None}, r"has no trained weights to carry over: pass pretrained=True or weights="),
        ({"budget": "params=0.5"}, "the budget chooses ch for every site by itself"),
        ({"budget": "parms=0.5", "ch": None}, "parms"),
        ({"budget": "latency=0.5", "ch": None}, "a budget of latency needs a target"),
        ({"target": "eager"}, "a target is for a budget of latency"),
        ({"init": "random"}, "init must be 'project' or 'fresh'"),
        ({"epochs": 1}, "images or epochs, not both"),
        ({"num_classes": 4}, "does not fit"),
    ],
    ids=str,
)
def test_wrong_arguments_are_one_sentence(data: Path, tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(KswapError, match=message):
        compressed(data, tmp_path / "small", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_the_command(data: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("batch = 4\nimages = 8\nevaluations = 1\n")
    words = ["compress", "test_resnet", "--weights", str(data.parent / "trained.pth"), "--num-classes", "3"]
    words += ["--data", str(data), "--input-size", "32", "--calibration-images", "12", "--device", "cpu"]
    words += ["--recipe", str(tmp_path / "mine.toml"), "--out", str(tmp_path / "small")]
    result = CliRunner().invoke(main, [*words, "--ch", "8", "--format", "json"], prog_name="kswap")
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert shown["params"]["ratio"] < 1
    assert [stage["name"] for stage in shown["stages"]] == ["original", "planned", "projected", "distilled"]
    again = CliRunner().invoke(main, [*words, "--ch", "8"], prog_name="kswap")
    assert again.exit_code == 0, again.output
    assert "6 pictures of" in again.stdout
    wrong = CliRunner().invoke(main, [*words, "--budget", "params=0.8", "--ch", "8"], prog_name="kswap")
    assert wrong.exit_code == 2
    assert "the budget chooses --ch for every site by itself" in wrong.stderr
