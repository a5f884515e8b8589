"""The study on CIFAR-10, on a tiny network and pictures of noise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from pictures_fixture import noise
from torch import nn

from kswap.cli.main import main
from kswap.errors import StudyError
from kswap.locking import directory_lock
from kswap.report.renderers import text_of
from kswap.studies import latency
from kswap.studies.choice import Choice
from kswap.studies.cifar10.cases import Case
from kswap.studies.cifar10.data import recipe_of, splits_to_choose, training_pictures
from kswap.studies.cifar10.files import StudyFiles
from kswap.studies.cifar10.forms import matched, params_of
from kswap.studies.cifar10.methods import METHODS
from kswap.studies.cifar10.protocols import PROTOCOLS, protocol
from kswap.studies.cifar10.run import cases_of, cifar10_study
from kswap.studies.cifar10.settings import Settings, Stage
from kswap.studies.cifar10.zero_classifier import zero_classifier_
from kswap.studies.files import read


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A network of 3 classes, 30 pictures to learn from and 6 to measure on."""
    root = tmp_path_factory.mktemp("cifar10")
    for split, count in (("train", 10), ("test", 2)):
        for number, name in enumerate(("blue", "green", "red")):
            (root / split / name).mkdir(parents=True)
            for seed in range(count):
                noise(100 * number + seed, (32, 32)).save(root / split / name / f"{seed}.png")
    return Settings(
        protocol="tiny",
        data=(str(root),),
        network="test_efficientnet",
        narrowed="test_efficientnet",
        num_classes=3,
        stages=(Stage(("v2-16",), 2), Stage(("v2-16", "baseline"), 1)),
        recipe_changes={"epochs": 1.0, "batch": 15, "evaluations": 0.001},
    )


def test_a_study_runs_each_case_once_and_shows_all_of_them(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The search for the quickest graph takes long, and has tests of its own.
    monkeypatch.setattr(latency, "optimize_for_inference", lambda model, *_, **__: model.eval())
    asked = replace(settings, learning_rates=(0.5, 1.0), structured_rates=(3.0,))
    alone = cifar10_study(asked, tmp_path, methods=["v2-16"], minutes=60)
    (row,) = alone.rows
    assert len(row.accuracy.values) == 2
    assert row.params == 59_379
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("cases/*.json")}
    assert len(kept) == 2
    choice = read(tmp_path / "learning-rates" / "v2-16.json", Choice)
    assert (row.lr, row.structured_lr) == (choice.lr, choice.structured_lr)
    assert choice.tried[:2] == (0.05, 0.1)
    assert choice.structured_tried == (1.0, 1.0, 3.0)
    best = max(range(3), key=lambda at: (choice.accuracies[at], -choice.losses[at]))
    assert (choice.lr, choice.structured_lr) == (choice.tried[best], choice.structured_tried[best])

    both = cifar10_study(asked, tmp_path)
    assert [entry.method for entry in both.rows] == ["baseline", "v2-16"]
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    assert not list(tmp_path.glob("work/*"))
    assert both.speeds is not None
    assert both.speeds.methods == {"baseline", "v2-16"}
    assert both.speeds.training["v2-16"].ratio > 0
    for name in ("accuracy-parameters.png", "accuracy-macs.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert json.loads(text_of(both, "json"))["rows"][1]["accuracy"]["mean"] == row.accuracy.mean
    assert "| v2, Ch 16 | 59,379 |" in text_of(both, "md")
    assert text_of(both, "csv").splitlines()[2].startswith("v2-16,59379,")

    with pytest.raises(StudyError, match="other settings"):
        cifar10_study(replace(asked, side=48), tmp_path)
    StudyFiles(tmp_path).claim(replace(asked, stages=()))


def test_a_classifier_may_start_at_zero_in_all_networks(settings: Settings, tmp_path: Path) -> None:
    asked = replace(settings, zero_classifier=True, recipe_changes={**settings.recipe_changes, "lr": 1e-9})
    (row,) = cifar10_study(asked, tmp_path, methods=["baseline"], minutes=60).rows
    assert row.accuracy.mean == pytest.approx(1 / 3)  # all logits are equal, and the first class is taken
    with pytest.raises(StudyError, match=r"get_classifier\(\) returns a linear layer"):
        zero_classifier_(nn.Linear(2, 2))


def test_a_case_that_another_process_works_on_is_left_to_it(settings: Settings, tmp_path: Path) -> None:
    files = StudyFiles(tmp_path)
    taken = files.work(Case("v2-16", 0).name)
    taken.mkdir(parents=True)
    with directory_lock(taken):
        found = cifar10_study(settings, tmp_path, methods=["v2-16"])
    assert [path.stem for path in files.results()] == ["v2-16_seed1"]
    assert found.speeds is None


@pytest.mark.parametrize("name", ["pruned", pytest.param("shuffle", marks=pytest.mark.slow)])
def test_a_peer_has_the_parameters_of_the_main_network_and_repeats_itself(name: str, settings: Settings) -> None:
    one, two = (METHODS[name].build(settings, 1).conversion for _ in range(2))
    assert sum(p.numel() for p in one.model.parameters()) == pytest.approx(59_379, rel=0.02)
    assert all(torch.equal(tensor, two.model.state_dict()[key]) for key, tensor in one.model.state_dict().items())


def test_a_narrower_network_has_the_strides_and_nearly_the_parameters_of_the_others() -> None:
    reduced = protocol("reduced", ["cifar10"], network="mobilenetv1_100", narrowed="mobilenetv1_100", skip_strides=1)
    wanted = params_of(reduced, ch=16)
    network = METHODS["narrower"].build(reduced, 0)
    assert network.conversion.report.params.after == pytest.approx(wanted, rel=0.02)
    assert network.conversion.model.get_submodule("conv_stem").stride == (1, 1)


def test_what_comes_near_to_no_number_of_parameters_is_refused(settings: Settings) -> None:
    with pytest.raises(StudyError, match=r"no thing of test_efficientnet comes within 2% of 59,379 parameters.*65,000"):
        matched(settings, (1_000, 65_000), lambda count: count, "thing")


def test_learning_rates_are_chosen_on_training_pictures(settings: Settings) -> None:
    learnt, held_out = splits_to_choose(settings)
    assert sorted([*learnt.names, *held_out.names]) == sorted(training_pictures(settings).names)
    assert len(held_out) == 3


def test_what_matters_most_comes_first_and_each_case_once(settings: Settings) -> None:
    cases = [case.name for case in cases_of(settings, settings.methods)]
    assert cases == ["v2-16_seed0", "v2-16_seed1", "baseline_seed0"]


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_a_protocol_knows_its_methods_and_its_recipe(name: str) -> None:
    made = protocol(name, ["cifar10"], epochs=2)
    assert set(made.methods) <= set(METHODS)
    assert recipe_of(made).epochs == 2


@pytest.mark.parametrize(("name", "params"), [("baseline", 4_020_358), ("v2-4-relu", 354_818)])
def test_the_networks_of_the_papers_protocol_are_those_of_the_papers(name: str, params: int) -> None:
    conversion = METHODS[name].build(protocol("papers"), 0).conversion
    assert conversion.report.params.after == params
    assert conversion.plan.input_size == (3, 32, 32)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "x.zip"),
        (["--protocol", "paper"], "did you mean papers"),
        (["--method", "v2-17"], "did you mean v2-16"),
        (["--method", "v2-16-relu"], "the protocol reduced does not have the method v2-16-relu"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(main, ["study", "cifar10", "--data", "x.zip", "--out", "out", *arguments])
    assert found.exit_code == 2
    assert says in found.output
    assert not (tmp_path / "out").exists()
