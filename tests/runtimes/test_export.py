"""Files for other programs: what stands in them, and that nothing wrong is ever left on disk."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import openvino
import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor, nn

import kswap
from kswap.cli.main import main
from kswap.errors import DeployError
from kswap.inference.optimize import optimize_for_inference
from kswap.runtimes import export as exporting
from kswap.runtimes.export import export_model
from kswap.runtimes.formats import FORMATS
from kswap.runtimes.formats.destination import check_destination

SMALL = "mobilenetv3_small_050"
NAMES = {"onnx": "model.onnx", "torch-export": "model.pt2", "openvino": "model.xml", "executorch": "model.pte"}
OUTSIDE = " (not delegated)"
# What a shuffle made of reshapes would leave, by format.
TRANSPOSES = {"Transpose", "aten.permute.default", "aten.transpose.int", "aten.permute_copy.default"}
SHUFFLES = {
    "Gather",
    "aten.index_select.default",
    f"aten.index_select.default{OUTSIDE}",
    "Concat",
    "aten.cat.default",
    "Slice",
    "aten.narrow.default",
    "aten.slice_copy.Tensor",
}


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3)

    def forward(self, x: Tensor) -> dict[str, Any]:
        y = self.body(x).relu()
        return {"logits": y.mean((2, 3)), "maps": [y, y * 2]}


def small() -> nn.Module:
    """A converted network of two blocks, an expansion and a projection."""
    torch.manual_seed(0)
    stem = (nn.Conv2d(3, 16, 3, stride=2, bias=False), nn.BatchNorm2d(16), nn.SiLU())
    expansion = (nn.Conv2d(16, 64, 1, bias=False), nn.BatchNorm2d(64), nn.SiLU())
    projection = (nn.Conv2d(64, 40, 1, bias=False), nn.BatchNorm2d(40))
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, 10))
    model = nn.Sequential(*stem, *expansion, *projection, *head)
    return kswap.convert(model, ch=8, seed=0, example_input=image()).model.eval()


def image(batch: int = 1) -> Tensor:
    return torch.randn(batch, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def reshapes(operators: dict[str, int]) -> int:
    kinds = ("Reshape", "Squeeze", "Unsqueeze", "Flatten", "view", "reshape", "flatten")
    return sum(count for name, count in operators.items() if any(kind in name for kind in kinds))


@pytest.mark.parametrize("to", FORMATS)
def test_blocks_as_they_were_trained_shuffle_by_one_gather_each(to: str, tmp_path: Path) -> None:
    model = small()
    exported = export_model(model, image(), to, tmp_path / NAMES[to])
    assert exported.error < 1e-5
    assert exported.params == sum(parameter.numel() for parameter in model.parameters())
    assert exported.bytes == sum(file.stat().st_size for file in tmp_path.iterdir())
    shuffles = sum(isinstance(module, kswap.nn.Interleave) for module in model.modules())
    assert shuffles
    gathers = ("Gather", "aten.index_select.default", f"aten.index_select.default{OUTSIDE}")
    assert sum(exported.operators.get(name, 0) for name in gathers) == shuffles
    assert not TRANSPOSES & set(exported.operators)
    assert reshapes(exported.operators) == 1  # before the classifier


@pytest.mark.parametrize("to", FORMATS)
def test_optimised_models_hold_neither_shuffles_nor_slices(to: str, tmp_path: Path) -> None:
    model = optimize_for_inference(small(), image(), autotune=False)
    exported = export_model(model, image(), to, tmp_path / NAMES[to])
    assert exported.error < 1e-5
    assert not (TRANSPOSES | SHUFFLES) & set(exported.operators)
    assert reshapes(exported.operators) == 1
    assert not any("norm" in name.lower() for name in exported.operators)
    assert not any(name.endswith(OUTSIDE) for name in exported.operators)


def run_onnx(path: Path, x: Tensor) -> list[Any]:
    import onnxruntime

    return list(onnxruntime.InferenceSession(str(path)).run(None, {"input": x.numpy()}))


def run_openvino(path: Path, x: Tensor) -> list[Any]:
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled([x.numpy()])
    return [found[output] for output in compiled.outputs]


def run_torch_export(path: Path, x: Tensor) -> list[Any]:
    found = torch.export.load(path).module()(x)
    return [found["logits"], *found["maps"]]


def run_executorch(path: Path, x: Tensor) -> list[Any]:
    from executorch.runtime import Runtime

    return list(Runtime.get().load_program(path).load_method("forward").execute([x]))


@pytest.mark.parametrize(
    ("to", "run"),
    [
        ("onnx", run_onnx),
        ("torch-export", run_torch_export),
        ("openvino", run_openvino),
        ("executorch", run_executorch),
    ],
)
def test_the_file_gives_all_outputs_of_a_dict(
    to: str, run: Callable[[Path, Tensor], list[Any]], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = Heads().eval()
    exported = export_model(model, torch.zeros(2, 3, 8, 8), to, tmp_path / NAMES[to])
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        expected = model(x)
    found = run(exported.path, x)
    for a, b in zip(found, [expected["logits"], *expected["maps"]], strict=True):
        torch.testing.assert_close(torch.as_tensor(a), b, rtol=1e-5, atol=1e-5)
    if to == "onnx":
        graph = onnx.load(exported.path)
        assert [value.name for value in graph.graph.output] == ["logits", "maps_0", "maps_1"]
    assert str(Path.cwd()).encode() not in exported.path.read_bytes()


def test_weights_are_stored_in_full_precision(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3)).eval()
    exported = export_model(model, torch.zeros(1, 3, 8, 8), "openvino", tmp_path / "model.xml")
    assert (tmp_path / "model.bin").stat().st_size >= 4 * exported.params


@pytest.mark.parametrize("to", FORMATS)
def test_nothing_is_left_after_a_failed_comparison(to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    with pytest.raises(DeployError, match="returns other outputs than PyTorch"):
        export_model(Heads().eval(), torch.zeros(1, 3, 8, 8), to, tmp_path / NAMES[to])
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_are_none_fail_the_comparison(tmp_path: Path) -> None:
    model = Heads().eval()
    with torch.no_grad():
        model.body.weight[0] = float("nan")
    with pytest.raises(DeployError, match="relative error nan"):
        export_model(model, torch.zeros(1, 3, 8, 8), "onnx", tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_files_are_only_overwritten_when_told(tmp_path: Path) -> None:
    model, x = Heads().eval(), torch.zeros(1, 3, 8, 8)
    (tmp_path / "model.bin").write_text("mine")
    with pytest.raises(DeployError, match=r"model\.bin exists already"):
        export_model(model, x, "openvino", tmp_path / "model.xml")
    (tmp_path / "model.onnx").write_text("mine")
    with pytest.raises(DeployError, match=r"model\.onnx exists already"):
        export_model(model, x, "onnx", tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_text() == "mine"
    export_model(model, x, "onnx", tmp_path / "model.onnx", force=True)
    assert onnx.load(tmp_path / "model.onnx").graph.node
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.bin", "model.onnx"]


@pytest.mark.parametrize(
    ("to", "name", "said"),
    [
        ("onyx", "model.onnx", "unknown format 'onyx'; did you mean onnx"),
        ("onnx", "model.pt2", "it must end in .onnx"),
        ("onnx", "nowhere/model.onnx", "is no directory that may be written to"),
    ],
)
def test_bad_names_are_refused_before_the_work(to: str, name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match=said):
        check_destination(to, tmp_path / name)


def command(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["export", *arguments], prog_name="kswap")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    conversion = kswap.convert(SMALL, ch=8, num_classes=10, device="cpu", seed=0, input_size=(64, 64))
    return conversion.save(tmp_path_factory.mktemp("export") / "small")


def test_the_command_writes_and_says_what(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = command(str(saved), "--to", "onnx", "--no-autotune", "--batch", "2")
    assert done.exit_code == 0, done.output
    for word in ("small.onnx", "2x3x64x64", "Conv", "largest error", "onnxruntime"):
        assert word in done.stdout
    shape = onnx.load(tmp_path / "small.onnx").graph.input[0].type.tensor_type.shape
    assert [dim.dim_value for dim in shape.dim] == [2, 3, 64, 64]


def test_the_command_gives_json(saved: Path, tmp_path: Path) -> None:
    out = tmp_path / "as-is.pt2"
    options = ("--as-is", "--input-size", "96", "--format", "json", "--out", str(out))
    done = command(str(saved), "--to", "torch-export", *options)
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert data["path"] == str(out)
    assert data["inputs"] == [[1, 3, 96, 96]]
    assert data["params"] == data["params_compact"]
    assert data["error"] < 1e-5
    assert out.stat().st_size == data["bytes"]


def test_the_command_refuses_in_one_line(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "there.onnx").write_text("mine")
    for arguments, said in (
        ((SMALL, "--to", "onnx"), f"there is no directory {SMALL}"),
        ((str(tmp_path), "--to", "onnx"), "is not a directory that kswap saved"),
        ((str(saved), "--to", "onnx", "--out", str(tmp_path / "there.onnx")), "exists already"),
        ((str(saved), "--to", "onyx"), "'onyx' is not one of 'onnx'"),
    ):
        done = command(*arguments)
        assert done.exit_code == 2
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
        assert said in done.stderr


def test_a_missing_package_and_a_file_in_the_way_are_refused_before_loading(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kswap.loading.load", lambda *_, **__: pytest.fail("it loaded the model"))
    (tmp_path / "there.onnx").write_text("mine")
    assert "exists already" in command(str(saved), "--to", "onnx", "--out", str(tmp_path / "there.onnx")).stderr
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "openvino" else found(name))
    done = command(str(saved), "--to", "openvino")
    assert done.exit_code == 2
    assert done.stderr == "Error: openvino needs openvino: pip install 'kswap[openvino]'\n"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "executorch" else found(name))
    done = command(str(saved), "--to", "executorch")
    assert done.exit_code == 2
    assert done.stderr == "Error: executorch needs executorch: pip install 'kswap[executorch]'\n"


@pytest.mark.parametrize("option", ["--half", "--dynamic-batch"])
def test_executorch_says_what_it_cannot_do_before_the_work(option: str, saved: Path) -> None:
    done = command(str(saved), "--to", "executorch", option)
    assert done.exit_code == 2
    assert f"Error: executorch does not go with {option}: " in done.stderr


def test_the_command_gives_markdown(saved: Path, tmp_path: Path) -> None:
    out = tmp_path / "a_b.pt2"
    done = command(str(saved), "--to", "torch-export", "--as-is", "--out", str(out), "--format", "md")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "| export | torch-export |"
    assert f"`{out}`" in lines[2]
    assert "1x3x64x64" in lines[3]


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from kswap.cli.main import main;"
        "done = CliRunner().invoke(main, ['export', '--help']); assert '--to' in done.output;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
