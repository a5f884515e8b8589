"""Exports with a free batch and in half precision: that they are what they say, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

import kswap
from kswap.cli.main import main
from kswap.errors import DeployError
from kswap.inference.optimize import optimize_for_inference
from kswap.runtimes.export import export_model
from kswap.runtimes.formats import FORMATS

NAMES = {"onnx": "model.onnx", "torch-export": "model.pt2", "openvino": "model.xml"}


def small() -> nn.Module:
    """A converted network of two blocks, one with an interleave."""
    torch.manual_seed(0)
    stem = (nn.Conv2d(3, 16, 3, stride=2, bias=False), nn.BatchNorm2d(16), nn.SiLU())
    blocks = (nn.Conv2d(16, 64, 1, bias=False), nn.BatchNorm2d(64), nn.SiLU(), nn.Conv2d(64, 40, 1))
    model = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, 10))
    return kswap.convert(model, ch=8, seed=0, example_input=images(1)).model.eval()


def images(batch: int) -> Tensor:
    return torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(batch))


def outputs(to: str, path: Path, x: Tensor) -> Tensor:
    """What the runtime of the format returns, called as its own documentation says."""
    if to == "onnx":
        return torch.as_tensor(onnxruntime.InferenceSession(str(path)).run(None, {"input": x.numpy()})[0])
    if to == "openvino":
        return torch.as_tensor(np.array(openvino.Core().compile_model(str(path), "CPU")([x.numpy()])[0]))
    found = torch.export.load(path).module()(x)
    assert isinstance(found, Tensor)
    return found


@pytest.mark.parametrize(
    ("to", "optimised"), [("onnx", True), ("onnx", False), ("torch-export", True), ("openvino", True)]
)
def test_a_free_batch_takes_sizes_that_were_never_tried(to: str, optimised: bool, tmp_path: Path) -> None:
    model = small()
    exported = optimize_for_inference(model, images(1), FORMATS[to].target, autotune=False) if optimised else model
    done = export_model(exported, images(1), to, tmp_path / NAMES[to], dynamic_batch=True)
    assert done.dynamic_batch
    assert done.error < 1e-5
    for batch in (1, 7):
        with torch.no_grad():
            wanted = model(images(batch))
        torch.testing.assert_close(outputs(to, done.path, images(batch)), wanted, rtol=1e-2, atol=1e-3)


def test_the_free_dimension_has_a_name_and_the_others_are_fixed(tmp_path: Path) -> None:
    path = export_model(small(), images(1), "onnx", tmp_path / "model.onnx", dynamic_batch=True).path
    graph = onnx.load(path).graph
    shape = graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in shape] == ["batch", 3, 32, 32]
    assert graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"


@pytest.mark.parametrize("to", NAMES)
def test_half_precision_halves_the_weights_and_keeps_inputs_and_outputs(to: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.AvgPool2d(16), nn.Conv2d(3, 256, 1), nn.ReLU(), nn.Conv2d(256, 512, 1)).eval()
    whole, half = tmp_path / "whole", tmp_path / "half"
    whole.mkdir()
    half.mkdir()
    full = export_model(model, images(1), to, whole / NAMES[to])
    done = export_model(model, images(1), to, half / NAMES[to], half=True, dynamic_batch=True)
    assert not full.half
    assert done.half
    assert 0 < full.bytes - done.bytes < 2 * done.params
    assert full.bytes - done.bytes > 1.8 * done.params
    assert 1e-5 < done.error < 1e-2
    found = outputs(to, done.path, images(3))
    assert found.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(found, model(images(3)), rtol=0, atol=2e-2)


def test_numbers_that_half_precision_does_not_have_are_refused(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 3, 1)).eval()
    with torch.no_grad():
        model[0].weight.mul_(1e6)
    with pytest.raises(DeployError, match=r"is allowed in half precision.*export in float32"):
        export_model(model, images(1), "onnx", tmp_path / "model.onnx", half=True)
    assert list(tmp_path.iterdir()) == []


class Fixed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.relu().reshape(2, 3, 16)


@pytest.mark.parametrize("to", NAMES)
def test_a_model_that_fixes_its_batch_is_refused_in_one_sentence(to: str, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=r"this Fixed .*export it with a fixed batch"):
        export_model(Fixed().eval(), torch.zeros(2, 3, 4, 4), to, tmp_path / NAMES[to], dynamic_batch=True)
    assert list(tmp_path.iterdir()) == []
    assert export_model(Fixed().eval(), torch.zeros(2, 3, 4, 4), to, tmp_path / NAMES[to]).error == 0


class Sum(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


def test_inputs_without_a_batch_in_common_are_refused(tmp_path: Path) -> None:
    inputs = (torch.zeros(4, 3), torch.zeros(1, 3))
    with pytest.raises(DeployError, match="first dimension of all inputs"):
        export_model(Sum().eval(), inputs, "onnx", tmp_path / "model.onnx", dynamic_batch=True)
    done = export_model(Sum().eval(), (inputs[0], inputs[0]), "onnx", tmp_path / "model.onnx", dynamic_batch=True)
    assert done.inputs == ((4, 3), (4, 3))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    conversion = kswap.convert("test_efficientnet", ch=8, num_classes=10, device="cpu", seed=0, input_size=(32, 32))
    return conversion.save(tmp_path_factory.mktemp("variants") / "tiny")


def command(*arguments: Any) -> Any:
    return CliRunner().invoke(main, ["export", *map(str, arguments)], prog_name="kswap")


def test_the_command_says_what_the_file_takes_and_how_large_its_weights_are(saved: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiny.pt2"
    done = command(saved, "--to", "torch-export", "--as-is", "--dynamic-batch", "--half", "--out", out)
    assert done.exit_code == 0, done.output
    params = sum(parameter.numel() for parameter in kswap.load(saved, device="cpu").model.parameters())
    assert "Nx3x32x32, N is any number" in done.stdout
    assert f"weights in float16, {2 * params:,} bytes instead of {4 * params:,}" in done.stdout
    assert "up to 5e-02 is allowed" in done.stdout
    assert outputs("torch-export", out, images(3)).shape == (3, 10)


def test_a_format_that_cannot_do_it_says_so_before_the_work(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = dataclasses.replace(FORMATS["onnx"], cannot={"dynamic_batch": "its shapes are fixed"})
    monkeypatch.setitem(FORMATS, "onnx", fixed)
    monkeypatch.setattr("kswap.loading.load", lambda *_, **__: pytest.fail("it loaded the model"))
    done = command(saved, "--to", "onnx", "--dynamic-batch", "--out", tmp_path / "model.onnx")
    assert done.exit_code == 2
    assert done.stderr == "Error: onnx does not go with --dynamic-batch: its shapes are fixed\n"
