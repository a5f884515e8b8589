"""``--budget`` and ``--ch-fraction`` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pictures_fixture import noise, png, zipped

from kswap.cli.main import main
from kswap.planner.plan import Plan

FACTORY = """
import torch
from torch import nn

def small():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 48, 3, stride=2), nn.BatchNorm2d(48), nn.ReLU(),
        nn.Conv2d(48, 64, 1), nn.BatchNorm2d(64), nn.ReLU(),
        nn.Conv2d(64, 32, 1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4),
    )
"""


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A model and pictures to calibrate with, as the command line takes them."""
    directory = tmp_path_factory.mktemp("budget")
    (directory / "small.py").write_text(FACTORY)
    pictures = {f"{number}.png": png(noise(number)) for number in range(24)}
    return f"{directory / 'small.py'}:small", str(zipped(directory / "pictures.zip", pictures))


def kswap(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), prog_name="kswap")


def refused(*arguments: str) -> str:
    result = kswap(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


def test_a_plan_within_a_budget_is_shown_saved_and_replayed(given: tuple[str, str], tmp_path: Path) -> None:
    model, pictures = given
    common = ("--input-size", "16", "--calibrate", pictures)
    saved = str(tmp_path / "plan.json")
    shown = kswap("plan", model, "--budget", "params=0.7", *common, "--save", saved, "--format", "json")
    assert shown.exit_code == 0, shown.output
    report = json.loads(shown.stdout)
    assert report["params"]["ratio"] <= 0.7
    changed = [site for site in report["sites"] if site["action"] == "replace" or "hidden" in site["reason"]]
    assert changed
    assert all(site["reason"].startswith("budget params=0.7: ") and "error" in site["reason"] for site in changed)
    assert any("by the budget params=0.7" in note for note in report["notes"])
    plan = Plan.load(saved)
    assert plan.replaced or plan.narrowings
    out = tmp_path / "out"
    made = kswap(
        *("convert", model, *common, "--plan", saved, "--init", "project", "--out", str(out), "--device", "cpu"),
    )
    assert made.exit_code == 0, made.output
    assert (out / "model.safetensors").exists()


def test_convert_within_several_budgets(given: tuple[str, str]) -> None:
    model, pictures = given
    options = ("--input-size", "16", "--calibrate", pictures, "--images", "16", "--device", "cpu", "--seed", "0")
    budgets = ("--budget", "params=0.8", "--budget", "macs=0.75")
    result = kswap("convert", model, *options, *budgets, "--format", "json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["params"]["ratio"] <= 0.8
    assert report["macs"]["ratio"] <= 0.75
    assert report["projection"]["images"] == 16


def test_a_budget_of_latency_is_measured_in_a_target(given: tuple[str, str]) -> None:
    model, pictures = given
    options = ("--input-size", "16", "--calibrate", pictures, "--images", "16", "--target", "eager", "--threads", "1")
    result = kswap("plan", model, *options, "--budget", "latency=1", "--format", "json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["params"]["ratio"] == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--budget", "0.2"), "is not a budget: write one such as params=0.2"),
        (("--budget", "params=0.2"), "add --calibrate PATH"),
        (("--budget", "params=0.2", "--ch", "8", "--rank", "4"), "chooses --ch, --rank for every site"),
        (("--budget", "latency=0.7"), "add --target eager"),
        (("--budget", "params=0.7", "--target", "eager"), "--target is for a budget of latency"),
        (("--target", "eager"), "--target is for a budget of latency"),
        (("--budget", "params=0.7", "--init", "fresh"), "say --init project"),
        (("--images", "3"), "give both"),
        (("--ch", "8", "--ch-fraction", "0.25"), "leave one out"),
    ],
)
def test_options_that_contradict_a_budget_are_refused(
    given: tuple[str, str], arguments: tuple[str, ...], sentence: str
) -> None:
    for command in ("plan", "convert"):
        assert sentence in refused(command, given[0], *arguments)


def test_calibration_and_plans_fit_the_command(given: tuple[str, str]) -> None:
    model, pictures = given
    assert "give --budget params=0.2 as well" in refused("plan", model, "--calibrate", pictures)
    assert "leave out --plan or --budget" in refused("convert", model, "--budget", "params=0.5", "--plan", "plan.json")


def test_a_budget_out_of_reach_is_one_sentence(given: tuple[str, str]) -> None:
    model, pictures = given
    options = ("--input-size", "16", "--calibrate", pictures, "--images", "8")
    line = refused("plan", model, "--budget", "params=0.01", *options)
    assert "the smallest that can be reached is" in line


def test_a_share_of_the_input_channels_is_the_ch_of_each_site() -> None:
    result = kswap("plan", "test_efficientnet", "--ch-fraction", "0.25", "--format", "json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert all(site["ch"] == max(1, round(site["in_channels"] / 4)) for site in report["sites"])
    assert any("Ch is 0.25 of the input channels" in note for note in report["notes"])
