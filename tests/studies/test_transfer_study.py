"""The study of trained networks, on a tiny network and pictures of noise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from pictures_fixture import noise

from kswap.cli.main import main
from kswap.errors import StudyError
from kswap.loading import original_model
from kswap.report.renderers import text_of
from kswap.studies.transfer.methods import METHODS
from kswap.studies.transfer.run import cases_of, transfer_study
from kswap.studies.transfer.settings import Settings
from kswap.studies.transfer.subject import Subject


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A network of 3 classes with weights in a file, 12 pictures to learn from and 6 to measure on."""
    root = tmp_path_factory.mktemp("study")
    for split, count in (("train", 4), ("val", 2)):
        for number, name in enumerate(("blue", "green", "red")):
            (root / "data" / split / name).mkdir(parents=True)
            for seed in range(count):
                noise(100 * number + seed, (40, 40)).save(root / "data" / split / name / f"{seed}.png")
    torch.manual_seed(0)
    _, model = original_model("test_efficientnet", {"num_classes": 3})
    torch.save(model.state_dict(), root / "weights.pth")
    return Settings(
        model="test_efficientnet",
        model_kwargs={"num_classes": 3},
        weights=str(root / "weights.pth"),
        data=str(root / "data"),
        side=32,
        shares=(0.8, 0.7),
        main_share=0.8,
        seeds=2,
        images=64,
        early=32,
        long_images=0,
        held_out=4,
        choosing_images=32,
        calibration=8,
        latency_side=32,
    )


def test_a_study_runs_each_case_once_and_shows_all_of_them(settings: Settings, tmp_path: Path) -> None:
    first = transfer_study(settings, tmp_path, methods=["blocks-fresh"], shares=[0.8])
    (row,) = first.rows
    assert len(row.untrained.values) == 2
    assert row.early is not None
    assert row.final is not None
    assert row.params <= 0.8 * first.original.params
    assert row.lr in settings.learning_rates
    assert row.latency is not None
    assert row.latency.ratio > 0
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("cases/*.json")}
    assert len(kept) == 2

    both = transfer_study(settings, tmp_path, methods=["blocks-fresh"])
    assert [entry.share for entry in both.rows] == [0.8, 0.7]
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    assert not list(tmp_path.glob("work/*"))
    for name in ("accuracy-parameters.png", "accuracy-latency.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert json.loads(text_of(both, "json"))["rows"][0]["untrained"]["mean"] == both.rows[0].untrained.mean
    assert text_of(both, "md").count(METHODS["blocks-fresh"].title) == 2
    assert text_of(both, "csv").count("blocks-fresh") == 2
    assert "| 0 images |" not in text_of(both, "md")  # these settings have no long runs
    assert all(row.long is None for row in both.rows)

    with pytest.raises(StudyError, match="other settings"):
        transfer_study(replace(settings, images=128), tmp_path)


QUICK = {"low-rank", "pruned"}
OTHERS = sorted(set(METHODS) - {"blocks-fresh", "budget-blocks", "budget"} - QUICK)


@pytest.mark.parametrize("name", [*sorted(QUICK), *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_a_method_keeps_to_its_share_and_repeats_itself(name: str, settings: Settings, tmp_path: Path) -> None:
    subject = Subject.of(settings, tmp_path)
    before = {key: tensor.clone() for key, tensor in subject.model.state_dict().items()}
    one, two = (METHODS[name].build(subject, 0.8, 1).model for _ in range(2))
    assert sum(parameter.numel() for parameter in one.parameters()) <= 0.8 * subject.params
    assert all(parameter.requires_grad for parameter in one.parameters())
    assert all(torch.equal(tensor, two.state_dict()[key]) for key, tensor in one.state_dict().items())
    assert all(torch.equal(tensor, before[key]) for key, tensor in subject.model.state_dict().items())


def test_learning_rates_are_chosen_on_training_pictures(settings: Settings, tmp_path: Path) -> None:
    learnt, held_out = Subject.of(settings, tmp_path).split
    assert sorted([*learnt.tolist(), *held_out.tolist()]) == list(range(12))


def test_several_seeds_at_the_main_share_come_first(settings: Settings) -> None:
    cases = list(cases_of(settings, [METHODS["pruned"], METHODS["budget-blocks"]]))
    assert [(case.method, case.share, case.seed) for case in cases[:4]] == [
        ("pruned", 0.8, 0),
        ("budget-blocks", 0.8, 0),
        ("pruned", 0.8, 1),
        ("budget-blocks", 0.8, 1),
    ]
    assert [case.share for case in cases[4:]] == [0.7, 0.7]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--data", "x.zip", "--out", "out"], "--weights FILE or --pretrained"),
        (["--weights", "none.pth", "--data", "x.zip", "--out", "out"], "there is no file none.pth"),
        (["--pretrained", "--data", "x.zip", "--out", "out", "--method", "prune"], "did you mean pruned"),
        (["--pretrained", "--data", "x.zip", "--out", "out", "--share", "0.3"], "no share 0.3"),
        (["--pretrained", "--data", "x.zip", "--out", "out", "--early", "7"], "multiple of the early point"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(main, ["study", "transfer", "test_efficientnet", *arguments])
    assert found.exit_code == 2
    assert says in found.output
    assert not (tmp_path / "out").exists()
