"""What conversions record of where they come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn

import kswap
from kswap.cli.main import main
from kswap.loading import original_model
from kswap.planner import Plan
from kswap.rules import load_rules

INPUT = torch.zeros(1, 3, 8, 8)


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 32, 3), nn.Conv2d(32, 64, 1), nn.BatchNorm2d(64), nn.ReLU())


def test_a_conversion_of_a_module(tmp_path: Path) -> None:
    rules = tmp_path / "mine.toml"
    rules.write_text("# small groups\nch = 4\n")
    conversion = kswap.convert(network(), rules=rules, example_input=INPUT, seed=3)
    origin = conversion.report.provenance
    assert origin is not None
    assert origin.command.startswith("kswap.convert(Sequential(...), rules=")
    assert origin.command.endswith("example_input=Tensor(...), seed=3)")
    assert origin.date.endswith("Z")
    assert (origin.model.kind, origin.model.weights) == ("module", "those of the module")
    assert (origin.rules.name, origin.rules.text) == ("mine.toml", "# small groups\nch = 4\n")
    assert origin.base_hash == conversion.base_hash
    assert [str(step) for step in origin.weights] == ["fresh, seed 3"]
    assert {"kswap", "torch", "timm"} <= origin.versions.keys()
    assert kswap.load(conversion.save(tmp_path / "small"), model=network()).report == conversion.report


def test_a_seed_that_nobody_gave_is_recorded() -> None:
    first = kswap.convert(network(), ch=4, example_input=INPUT)
    assert first.report.provenance is not None
    seed = first.report.provenance.seed
    again = kswap.convert(network(), ch=4, example_input=INPUT, seed=seed)
    for name, value in first.model[1].state_dict().items():
        assert torch.equal(value, again.model[1].state_dict()[name])


def test_fitted_weights_and_replayed_plans() -> None:
    model = network()
    samples = torch.randn(40, 3, 8, 8)
    plan = kswap.plan(model, ch=4, example_input=INPUT, init="project")
    conversion = kswap.convert(model, plan=plan, example_input=INPUT, init="project", calibration=samples, seed=0)
    origin = conversion.report.provenance
    assert origin is not None
    assert [str(step) for step in origin.weights] == ["projected from 40 images of a tensor, seed 0"]
    assert (origin.rules.name, origin.rules.text, origin.rules.sha256) == (plan.rules, "", "")


def test_rules_that_were_changed_do_not_pass_for_their_file() -> None:
    own = kswap.convert(network(), rules=load_rules("keffnet-v2"), linear=True, example_input=INPUT, ch=4).report
    assert own.provenance is not None
    assert json.loads(own.provenance.rules.text)["match"] == ["conv", "conv1d", "conv3d", "linear"]


def test_the_command_line_records_what_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    typed = ["plan", "test_resnet", "--ch", "8", "--format", "json"]
    reports = {}
    for classes in ("10", "100"):
        arguments = [*typed, "--num-classes", classes]
        text = CliRunner().invoke(main, arguments).stdout
        assert text == CliRunner().invoke(main, arguments).stdout  # the same bytes, date included
        (tmp_path / f"{classes}.json").write_text(text)
        reports[classes] = kswap.Report.from_json(json.loads(text))
    origin = reports["10"].provenance
    assert origin is not None
    assert origin.command == "kswap plan test_resnet --ch 8 --format json --num-classes 10"
    assert origin.date == "2023-11-14T22:13:20Z"
    assert (origin.weights, origin.base_hash, origin.rules.sha256 != "") == ((), "", True)

    asked = ("diff", "10.json", "100.json")
    done = CliRunner().invoke(main, [*asked, "--fail-if", "not same_originals"])
    assert done.exit_code == 1
    assert "Failed: not same_originals (same_originals is False)" in done.stderr
    assert "the originals differ (num_classes 10 and 100), 0 sites changed" in " ".join(done.stdout.split())
    assert CliRunner().invoke(main, [*asked, "--fail-if", "changed > 0"]).exit_code == 0
    wrong = CliRunner().invoke(main, [*asked, "--fail-if", "chnged > 0"])
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "did you mean changed" in wrong.stderr


def test_a_plan_of_a_saved_plan_names_its_rules(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    kswap.plan("test_resnet", ch=8, rules="no-sum").save(file)
    dry = CliRunner().invoke(main, ["convert", "test_resnet", "--plan", str(file), "--dry-run", "--format", "json"])
    rules = json.loads(dry.stdout)["provenance"]["rules"]
    assert rules == {"name": Plan.load(file).rules, "text": "", "sha256": ""}


@pytest.fixture
def small() -> kswap.Conversion:
    return kswap.convert("test_resnet", ch=8, num_classes=2, seed=0, device="cpu", input_size=(32, 32))


@pytest.fixture
def two_classes(tmp_path: Path) -> Path:
    for name in ("dark", "light"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(4):
            picture = Image.new("L", (32, 32), 200 * (name == "light") + number)
            picture.save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


def steps_of(conversion: kswap.Conversion) -> list[str]:
    assert conversion.report.provenance is not None
    return [step.how for step in conversion.report.provenance.weights]


def test_training_and_distilling_are_steps(small: kswap.Conversion, two_classes: Path, tmp_path: Path) -> None:
    teacher = original_model("test_resnet", {"num_classes": 2})[1]
    more: dict[str, Any] = {"recipe": {"batch": 4}, "images": 8, "progress": False}
    taught = kswap.distill(small, teacher, two_classes, **more).conversion
    assert steps_of(taught) == ["fresh", "distilled"]
    assert taught.report.provenance is not None
    assert taught.report.provenance.command.startswith("kswap.distill(Conversion(...), ResNet(...), '")
    step = taught.report.provenance.weights[-1]
    assert (step.images, step.teacher, step.data) == (8, "ResNet", str(two_classes))
    assert steps_of(small) == ["fresh"]

    out = tmp_path / "trained"
    asked: dict[str, Any] = {"epochs": 1, "batch": 4, "eval_data": two_classes, "out": out, "progress": False}
    for _ in range(2):  # the second time it is done already
        trained = kswap.train(taught, two_classes, **asked).conversion
        assert steps_of(trained) == ["fresh", "distilled", "trained"]
    assert kswap.load(out).report == trained.report
