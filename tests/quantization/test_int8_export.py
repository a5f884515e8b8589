"""Exports in int8: what stands in the file, what is measured, and that nothing half-written is ever left."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import onnxruntime.quantization
import pytest
import torch
from click.testing import CliRunner, Result
from pictures_fixture import CLASSES, noise
from PIL import Image
from torch import Tensor, nn

import kswap
from kswap.cli.main import main
from kswap.data.images import ImageSet
from kswap.data.preprocessing import Preprocessing
from kswap.data.unlabelled import UnlabelledImageSet
from kswap.errors import DeployError
from kswap.quantization.file_model import FileModel
from kswap.quantization.int8 import export_int8
from kswap.quantization.rendering import render_markdown
from kswap.runtimes.export import export_model
from kswap.runtimes.formats import FORMATS

SIZE = (3, 32, 32)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise in class folders, with one white and one black picture among those to train on."""
    root = tmp_path_factory.mktemp("photos")
    for number, (split, name) in enumerate((split, name) for split in ("train", "val") for name in CLASSES):
        folder = root / split / name
        folder.mkdir(parents=True)
        for other in range(4):
            noise(10 * number + other, (32, 32)).save(folder / f"{other}.png")
    for value in (0, 255):
        Image.new("RGB", (32, 32), (value,) * 3).save(root / "train" / CLASSES[0] / f"flat{value}.png")
    return root


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A converted network whose norms have seen pictures, so that its outputs differ from picture to picture."""
    options = {"num_classes": 3, "device": "cpu", "seed": 0, "input_size": SIZE}
    conversion = kswap.convert("test_efficientnet", ch=8, **options)
    torch.manual_seed(0)
    with torch.no_grad():
        for _ in range(30):
            conversion.model.train()(torch.randn(16, *SIZE))
    conversion.model.eval()
    return conversion.save(tmp_path_factory.mktemp("int8") / "tiny")


def command(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["export", *map(str, arguments)], prog_name="kswap")


@pytest.fixture(scope="module")
def exported(saved: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The file that the command wrote, and what it says, as JSON."""
    out = tmp_path_factory.mktemp("out") / "tiny.onnx"
    options = ("--quantize", "int8", "--calibrate", photos, "--batch", 4, "--as-is", "--threads", 1)
    done = command(saved, "--to", "onnx", *options, "--out", out, "--format", "json")
    assert done.exit_code == 0, done.output
    assert "pictures: 32x32 RGB" in done.stderr
    return out, json.loads(done.stdout)


def test_the_file_holds_8_bit_weights_with_a_scale_per_channel(exported: tuple[Path, dict[str, Any]]) -> None:
    out, said = exported
    graph = onnx.load(out).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    read = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    weights = [read[node.input[1]] for node in convolutions if node.input[1] in read]
    assert len(weights) > len(convolutions) // 2
    for node in weights:
        assert types[node.input[0]] == onnx.TensorProto.INT8
        assert shapes[node.input[1]] == shapes[node.input[0]][:1]
    assert said["bytes"] == out.stat().st_size < said["quantization"]["bytes_float32"]
    assert [path.name for path in out.parent.iterdir()] == ["tiny.onnx"]


def test_accuracy_is_that_of_the_file_on_the_held_out_split(
    exported: tuple[Path, dict[str, Any]], photos: Path, saved: Path
) -> None:
    out, said = exported
    held_out = ImageSet(photos, "val")
    prepare = Preprocessing.of(kswap.load(saved, device="cpu").model, SIZE)
    session = onnxruntime.InferenceSession(str(out))
    inputs = torch.stack([prepare(held_out.picture(number)) for number in range(len(held_out))]).numpy()
    outputs = np.concatenate([session.run(None, {"input": inputs[at : at + 4]})[0] for at in range(0, 12, 4)])
    accuracy = said["quantization"]["accuracy"]
    assert accuracy["images"] == 12
    assert accuracy["pictures"].endswith("split val")
    assert accuracy["int8"] == pytest.approx((outputs.argmax(1) == held_out.labels).mean())
    assert said["quantization"]["calibration"].endswith("split train")


def test_calibration_pictures_are_prepared_as_the_model_wants_them(
    exported: tuple[Path, dict[str, Any]], saved: Path
) -> None:
    out, said = exported
    graph = onnx.load(out).graph
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    first = next(node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] == "input")
    prepare = Preprocessing.of(kswap.load(saved, device="cpu").model, SIZE)
    white, black = (prepare(Image.new("RGB", (32, 32), (value,) * 3)) for value in (255, 0))
    assert values[first.input[1]] * 255 == pytest.approx(float(white.max() - black.min()), rel=0.01)
    assert tuple(said["quantization"]["preprocessing"]["mean"]) == prepare.mean


def test_speed_is_compared_with_the_original_and_with_groups_in_float32(
    exported: tuple[Path, dict[str, Any]],
) -> None:
    speed = exported[1]["quantization"]["speed"]
    assert speed["no_original"] == ""
    assert set(speed["grouped"]) == {8} or min(speed["grouped"]) > 1
    for name in ("original", "float32", "groups_in_float32"):
        assert speed[name]["ratio"] > 0
        assert speed[name]["rounds"] >= 15


def test_the_terminal_says_what_int8_costs_and_brings(saved: Path, photos: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number in range(4):
        noise(number, (32, 32)).save(flat / f"{number}.png")
    out = tmp_path / "tiny.onnx"
    options = ("--quantize", "int8", "--calibrate", flat, "--no-autotune", "--calibration-images", 3)
    done = command(saved, "--to", "onnx", *options, "--dynamic-batch", "--out", out)
    assert done.exit_code == 0, done.output
    assert "Nx3x32x32" in done.stdout
    assert "calibrated on 3 pictures" in done.stdout
    assert "accuracy       not measured: the pictures have no labels of this model; pass --eval-data" in done.stdout
    assert "its int8 export takes" in done.stdout
    session = onnxruntime.InferenceSession(str(out))
    assert session.run(None, {"input": np.zeros((5, *SIZE), np.float32)})[0].shape == (5, 3)


class Excited(nn.Module):
    """A convolution with squeeze-and-excite. With ``scale``, one number in the branch is far larger than the others."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 16, 3, stride=2)
        self.reduce, self.expand = nn.Conv2d(16, 8, 1), nn.Conv2d(8, 16, 1)
        self.head = nn.Linear(16, 3)
        with torch.no_grad():
            self.reduce.bias[0] = scale
            self.expand.weight[:, 0] = 0.1 / scale

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x).relu()
        gate = self.expand(self.reduce(y.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return self.head((y * gate).mean((2, 3)))


def quantised(model: nn.Module, photos: Path, path: Path) -> Any:
    pictures = UnlabelledImageSet(photos)
    return export_int8(model.eval(), 1, "onnx", path, pictures, Preprocessing(SIZE), original="it is a module")


def test_squeeze_and_excite_stays_in_float32_only_where_that_was_measured_to_matter(
    photos: Path, tmp_path: Path
) -> None:
    plain = quantised(Excited(1.0), photos, tmp_path / "plain.onnx")
    assert plain.kept is None
    sensitive = quantised(Excited(3e4), photos, tmp_path / "sensitive.onnx")
    assert sensitive.kept is not None
    assert sensitive.error == sensitive.kept.error_kept < sensitive.kept.error_quantized / 2
    assert sensitive.speed.no_original == "it is a module"
    rows = [line.split(" | ") for line in render_markdown(sensitive).splitlines()]
    facts = {row[0].removeprefix("| "): row[1] for row in rows if len(row) == 2}
    assert f"`{sensitive.exported.path}` ({sensitive.bytes:,} bytes)" in facts["file"]
    assert "squeeze-and-excite, 5 nodes" in facts["kept in float"]
    assert "not timed: it is a module" in facts["original"]


def test_only_branches_that_end_in_a_product_are_squeeze_and_excite(tmp_path: Path) -> None:
    path = export_model(Excited(1.0).eval(), torch.zeros(1, *SIZE), "onnx", tmp_path / "model.onnx").path
    assert FORMATS["onnx"].quantizer is not None
    names = set(FORMATS["onnx"].quantizer.squeezes(path))
    types = sorted(node.op_type for node in onnx.load(path).graph.node if node.name in names)
    assert types == ["Conv", "Conv", "GlobalAveragePool", "Relu", "Sigmoid"]


def test_a_file_of_a_fixed_batch_takes_any_number_of_pictures_as_a_module(tmp_path: Path) -> None:
    model = Excited(1.0).eval()
    path = export_model(model, torch.zeros(4, *SIZE), "onnx", tmp_path / "model.onnx").path
    x = torch.randn(6, *SIZE)
    with torch.no_grad():
        torch.testing.assert_close(FileModel(FORMATS["onnx"], path, 4)(x), model(x), rtol=1e-4, atol=1e-5)


def test_nothing_is_left_when_quantisation_fails_halfway(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(_source: str, path: str, *_: Any, **__: Any) -> None:
        Path(path).write_bytes(b"half")
        raise RuntimeError("the disk is on fire")

    monkeypatch.setattr(onnxruntime.quantization, "quantize_static", half)
    with pytest.raises(DeployError, match=r"cannot quantise this network \(RuntimeError: the disk is on fire\)"):
        quantised(Excited(1.0), photos, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--to", "onnx", "--quantize", "int8"), "--quantize needs pictures to take its ranges from"),
        (("--to", "onnx", "--eval-limit", "5"), "--eval-limit is for int8: pass --quantize int8"),
        (("--to", "onnx", "--quantize", "int8", "--calibrate", "x", "--half"), "--half and --quantize both say"),
        (("--to", "torch-export", "--quantize", "int8", "--calibrate", "x"), "torch-export files are not quantised"),
        (("--to", "onnx", "--quantize", "int8", "--calibrate", "nowhere"), "there is no folder or zip file nowhere"),
    ],
)
def test_options_that_do_not_go_together_are_refused_in_one_line(
    options: tuple[str, ...], said: str, saved: Path, tmp_path: Path
) -> None:
    done = command(saved, *options, "--out", tmp_path / f"model{'.onnx' if 'onnx' in options else '.pt2'}")
    assert done.exit_code == 2
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_more_pictures_than_there_are_for_a_batch_are_refused(saved: Path, photos: Path, tmp_path: Path) -> None:
    options = ("--quantize", "int8", "--calibrate", photos, "--batch", 64, "--as-is", "--out", tmp_path / "m.onnx")
    done = command(saved, "--to", "onnx", *options)
    assert done.exit_code == 2
    assert "14 pictures are fewer than the 64 that the file takes at a time" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_openvino_needs_nncf(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "nncf" else found(name))
    options = ("--quantize", "int8", "--calibrate", tmp_path, "--out", tmp_path / "model.xml")
    done = command(saved, "--to", "openvino", *options)
    assert done.exit_code == 2
    assert done.stderr == "Error: int8 in this format needs nncf: pip install 'kswap[nncf]'\n"


def test_openvino_through_nncf(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("nncf", reason="it is not installed for every run of the tests")
    path = tmp_path / "model.xml"
    pictures = UnlabelledImageSet(photos)
    done = export_int8(Excited(1.0).eval(), 1, "openvino", path, pictures, Preprocessing(SIZE), original="a module")
    assert done.method == "nncf.quantize"
    assert done.error < 0.05
    assert "FakeQuantize" in path.read_text() or "FakeConvert" in path.read_text()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.bin", "model.xml"]
