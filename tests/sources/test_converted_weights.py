"""Weights of a converted model out of a trainer's checkpoint: into a conversion, by name, and back to a directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_model
from torch import nn

import kswap
from kswap.cli.main import main
from kswap.errors import ModelError

SETTINGS: dict[str, Any] = {"ch": 8, "num_classes": 5, "input_size": (32, 32), "device": "cpu"}
PICTURE = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def trained(**settings: Any) -> kswap.Conversion:
    """After two steps, so that its weights and its norms are no longer fresh."""
    conversion = kswap.convert("test_resnet", **(SETTINGS | {"seed": 7} | settings))
    optimizer = torch.optim.SGD(conversion.model.parameters(), 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        conversion.model(PICTURE).square().mean().backward()
        optimizer.step()
    conversion.model.eval()
    return conversion


def wrapped(model: nn.Module) -> nn.Module:
    outer = nn.Module()
    outer.model = model
    return outer


WAYS: dict[str, Callable[[nn.Module, Path], None]] = {
    "state dict": lambda model, path: torch.save(model.state_dict(), path),
    "timm": lambda model, path: torch.save({"epoch": 1, "arch": "x", "state_dict": model.state_dict()}, path),
    "lightning": lambda model, path: torch.save({"state_dict": wrapped(model).state_dict(), "loops": {}}, path),
    "trainer": lambda model, path: save_model(wrapped(model), str(path)),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_a_trainer_saved_becomes_a_directory(way: str, tmp_path: Path) -> None:
    conversion = trained()
    wanted = conversion.model(PICTURE)
    WAYS[way](conversion.model, tmp_path / "checkpoint")
    named = kswap.convert("test_resnet", weights=tmp_path / "checkpoint", **SETTINGS)
    assert "trained weights from the file checkpoint" in named.report.notes
    other = kswap.convert("test_resnet", **SETTINGS).with_weights(tmp_path / "checkpoint")
    for number, made in enumerate((named, other)):
        assert made.report.provenance
        assert str(made.report.provenance.weights[-1]) == "loaded from checkpoint"
        loaded = kswap.load(made.save(tmp_path / f"saved{number}"))
        assert torch.equal(loaded.model(PICTURE), wanted)


def test_on_the_command_line(tmp_path: Path) -> None:
    conversion = trained(kind="low-rank")
    torch.save(conversion.model.state_dict(), tmp_path / "mine.pth")
    settings = ["--ch", "8", "--kind", "low-rank", "--num-classes", "5", "--input-size", "32", "--device", "cpu"]
    command = ["convert", "test_resnet", *settings, "--weights", f"{tmp_path}/mine.pth", "--out", f"{tmp_path}/out"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert torch.equal(kswap.load(tmp_path / "out").model(PICTURE), conversion.model(PICTURE))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"ch": 4}, "does not fit test_resnet as it is converted here: .* of another shape or type"),
        ({"scheme": "v1"}, "does not fit test_resnet as it is converted here"),
        ({"num_classes": 3}, "pass num_classes=5"),
        ({"init": "project", "calibration": PICTURE}, "holds the weights of a converted model, and init=.project. and"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any], says: str, tmp_path: Path) -> None:
    torch.save(trained().model.state_dict(), tmp_path / "mine.pth")
    with pytest.raises(ModelError, match=says):
        kswap.convert("test_resnet", weights=tmp_path / "mine.pth", **(SETTINGS | settings))


def test_where_weights_of_the_original_are_wanted(tmp_path: Path) -> None:
    torch.save(trained().model.state_dict(), tmp_path / "mine.pth")
    says = "they are of a converted model: pass the weights to kswap.convert, with the Ch, scheme and rules"
    with pytest.raises(ModelError, match=says):
        kswap.block_library(
            "test_resnet", PICTURE, weights=tmp_path / "mine.pth", num_classes=5, input_size=(32, 32), device="cpu"
        )


def test_weights_of_another_conversion_are_refused_and_nothing_changes(tmp_path: Path) -> None:
    torch.save(trained(ch=4).model.state_dict(), tmp_path / "mine.pth")
    conversion = trained()
    before = conversion.model(PICTURE)
    with pytest.raises(ModelError, match="does not fit test_resnet as it was converted"):
        conversion.with_weights(tmp_path / "mine.pth")
    assert torch.equal(conversion.model(PICTURE), before)
