"""Class activation maps, against the formula; the figure; and the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from click.testing import CliRunner, Result
from matplotlib import colormaps
from pictures_fixture import Flat, noise, png
from PIL import Image
from torch import Tensor, nn

import kswap
from kswap.analysis.cam import cam
from kswap.analysis.figure import SIDE, figure, overlay, save_figure, turbo
from kswap.cli.main import main
from kswap.data.preprocessing import Preprocessing
from kswap.errors import DataError, KswapError, ModelError

SIZE = Preprocessing((3, 24, 32))
PICTURE = noise(0, (32, 24))


class Net(nn.Module):
    """Two convolutions, then ``tail`` from the feature map ``(1, 8, 6, 8)`` to 5 logits."""

    def __init__(self, tail: Callable[[Tensor], Tensor] | nn.Module, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.features = nn.Sequential(
                nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3, 2, 1)
            )
            self.norm = nn.BatchNorm1d(8)
            nn.init.normal_(self.norm.running_mean)
            nn.init.uniform_(self.norm.weight, 0.5, 2)
            nn.init.uniform_(self.norm.running_var, 0.5, 2)
            self.fc = nn.Linear(8, 5)
            self.conv = nn.Conv2d(8, 5, 1)
        self.tail = tail

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self, self.features(x))

    def formula(self, class_index: int, weights: Tensor | None = None) -> np.ndarray:
        """The sum over channels of weight times feature map, written out."""
        with torch.no_grad():
            features = self.eval().features(SIZE(PICTURE)[None])[0]
            rows = (self.fc.weight if weights is None else weights)[class_index]
            return sum(rows[channel] * features[channel] for channel in range(8)).numpy()


POOLS: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "mean": lambda net, x: net.fc(x.mean((2, 3))),
    "mean twice kept": lambda net, x: net.fc(x.mean((2, 3), keepdim=True).flatten(1)),
    "adaptive": lambda net, x: net.fc(F.dropout(F.adaptive_avg_pool2d(x, 1).flatten(1), training=net.training)),
    "average pool": lambda net, x: net.fc(F.avg_pool2d(x, (6, 8)).squeeze(-1).squeeze(-1)),
    "flattened": lambda net, x: net.fc(x.flatten(2).mean(-1)),
    "tokens": lambda net, x: net.fc(x.flatten(2).transpose(1, 2).mean(1)),
    "channels last": lambda net, x: net.fc(x.permute(0, 2, 3, 1).mean((1, 2))),
    "softmax": lambda net, x: net.fc(x.mean((2, 3))).softmax(1),
}


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("class_index", [0, 4])
def test_the_map_is_the_formula_whatever_the_pool(pool: str, class_index: int) -> None:
    net = Net(POOLS[pool])
    made = cam(net.train(), PICTURE, class_index, preprocessing=SIZE)
    assert all(module.training for module in net.modules())
    expected = net.formula(class_index)
    assert made.linear
    assert np.allclose(made.evidence, expected, rtol=1e-4, atol=1e-5)
    positive = np.maximum(expected, 0)
    assert np.allclose(made.heat, positive / positive.max(), atol=1e-4)
    assert made.heat.shape == (6, 8)
    with torch.no_grad():
        logits = net.fc(net.eval().features(SIZE(PICTURE)[None]).mean((2, 3)))
    assert made.probability == pytest.approx(float(logits.softmax(1)[0, class_index]), rel=1e-4)


def test_a_norm_between_pool_and_classifier_is_folded_in() -> None:
    net = Net(lambda net, x: net.fc(net.norm(x.mean((2, 3)))))
    scale = net.norm.weight / torch.sqrt(net.norm.running_var + net.norm.eps)
    made = cam(net, PICTURE, 2, preprocessing=SIZE)
    assert made.linear
    assert np.allclose(made.evidence, net.formula(2, net.fc.weight * scale), rtol=1e-4, atol=1e-5)


def test_an_activation_in_place_behind_the_pool() -> None:
    """Features behind a ReLU are not negative, so that this one changes nothing."""
    net = Net(lambda net, x: net.fc(F.relu(x.relu().mean((2, 3)), inplace=True)))
    made = cam(net, PICTURE, 1, preprocessing=SIZE)
    with torch.no_grad():
        features = net.eval().features(SIZE(PICTURE)[None])[0].relu()
        expected = torch.einsum("c,chw->hw", net.fc.weight[1], features)
    assert np.allclose(made.evidence, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_a_classifier_that_is_a_convolution_behind_the_pool() -> None:
    net = Net(lambda net, x: net.conv(x.mean((2, 3), keepdim=True)).flatten(1))
    made = cam(net, PICTURE, 3, preprocessing=SIZE)
    assert np.allclose(made.evidence, net.formula(3, net.conv.weight[:, :, 0, 0]), rtol=1e-4, atol=1e-5)


def test_a_classifier_that_is_a_convolution_before_the_pool() -> None:
    net = Net(lambda net, x: net.conv(x).mean((2, 3)))
    made = cam(net, PICTURE, 3, preprocessing=SIZE)
    expected = net.formula(3, net.conv.weight[:, :, 0, 0]) + float(net.conv.bias[3].detach())
    assert np.allclose(made.evidence, expected, rtol=1e-4, atol=1e-5)


def test_layers_that_are_not_linear_are_taken_by_their_slope() -> None:
    net = Net(lambda net, x: net.fc(torch.tanh(3 * x.mean((2, 3)))))
    made = cam(net, PICTURE, 0, preprocessing=SIZE)
    assert not made.linear
    with torch.no_grad():
        pooled = net.eval().features(SIZE(PICTURE)[None]).mean((2, 3))[0]
        slope = net.fc.weight * 3 * (1 - torch.tanh(3 * pooled) ** 2)
    assert np.allclose(made.evidence, net.formula(0, slope), rtol=1e-4, atol=1e-5)


def test_a_gate_before_the_pool_is_not_taken_for_it() -> None:
    net = Net(lambda net, x: net.fc((x * torch.sigmoid(x.mean((2, 3), keepdim=True))).mean((2, 3))))
    made = cam(net, PICTURE, 0, preprocessing=SIZE)
    with torch.no_grad():
        features = net.eval().features(SIZE(PICTURE)[None])
        gated = (features * torch.sigmoid(features.mean((2, 3), keepdim=True)))[0]
        expected = torch.einsum("c,chw->hw", net.fc.weight[0], gated)
    assert np.allclose(made.evidence, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_without_a_class_the_likeliest_one() -> None:
    net = Net(POOLS["mean"])
    with torch.no_grad():
        likeliest = int(net.eval()(SIZE(PICTURE)[None]).argmax())
    assert cam(net, PICTURE, preprocessing=SIZE).class_index == likeliest


def test_frozen_weights_and_inference_mode() -> None:
    net = Net(POOLS["adaptive"]).requires_grad_(False)
    with torch.inference_mode():
        made = cam(net, PICTURE, 0, preprocessing=SIZE)
    assert np.allclose(made.evidence, net.formula(0), rtol=1e-4, atol=1e-5)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_gradcam_is_the_same_map_where_there_is_a_pool() -> None:
    """Selvaraju et al. 2017, section 3.1: it is a generalisation."""
    net = Net(POOLS["mean"])
    paper = cam(net, PICTURE, 1, preprocessing=SIZE)
    general = cam(net, PICTURE, 1, "gradcam", preprocessing=SIZE)
    assert np.allclose(paper.heat, general.heat, atol=1e-5)
    assert general.method == "gradcam"


def test_gradcam_without_a_pool_is_its_formula() -> None:
    net = Net(lambda net, x: net.fc(x.relu().flatten(1)))
    net.fc = nn.Linear(8 * 6 * 8, 5)
    made = cam(net, PICTURE, 1, "gradcam", preprocessing=SIZE)
    with torch.no_grad():
        features = net.eval().features(SIZE(PICTURE)[None]).relu()[0]
        weights = net.fc.weight[1].reshape(8, 6, 8).mean((1, 2))
        expected = torch.einsum("c,chw->hw", weights, features).numpy()
    assert np.allclose(made.evidence, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "linear"), [("resnet18", True), ("mobilenetv3_small_050", False), ("torchvision/shufflenet_v2_x0_5", True)]
)
def test_converted_networks(name: str, linear: bool) -> None:
    conversion = kswap.convert(name, ch=16, num_classes=7, input_size=(96, 96), device="cpu", seed=0)
    made = cam(conversion, noise(1, (96, 96)))
    assert (made.heat.shape, made.linear) == ((3, 3), linear)
    assert made.preprocessing.input_size == (3, 96, 96)
    assert made.heat.max() == pytest.approx(1)
    if linear:
        classifier = [m for m in conversion.model.modules() if isinstance(m, nn.Linear)][-1]
        with torch.no_grad():
            logit = conversion.model.eval()(made.preprocessing(noise(1, (96, 96)))[None])[0, made.class_index]
        constant = float(classifier.bias.detach()[made.class_index])
        assert made.evidence.mean() + constant == pytest.approx(float(logit), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(
    ("tail", "method", "match"),
    [
        (lambda net, x: net.fc(x.amax((2, 3))), "cam", "has no global average pool before a linear classifier"),
        (lambda net, x: net.fc(x.mean((2, 3)) + x[:, :, 0, 0]), "cam", "has no global average pool"),
        (lambda net, x: net.fc(x.mean((2, 3))).detach(), "cam", "has no global average pool"),
        (
            lambda net, x: net.fc(F.max_pool2d(x, 6, 6)[:, :, :1, :1].mean((2, 3))),
            "cam",
            "has a single position at 24x32",
        ),
        (lambda net, x: net.fc(x.mean((2, 3)))[:, :, None], "cam", "is not a classifier"),
        (POOLS["mean"], "camera", "unknown method 'camera': known are cam, gradcam; did you mean cam"),
        (POOLS["mean"], "cam", "there is no class 9: the model has the classes 0 to 4"),
    ],
)
def test_models_and_values_that_do_not_fit(tail: Callable[[Net, Tensor], Tensor], method: str, match: str) -> None:
    chosen = 9 if "class 9" in match else 0
    with pytest.raises(ModelError, match=match) as caught:
        cam(Net(tail), PICTURE, chosen, method, preprocessing=SIZE)
    assert "\n" not in str(caught.value)


def test_a_model_without_feature_maps() -> None:
    with pytest.raises(ModelError, match="has no feature maps with height and width"):
        cam(Flat(), noise(0), 0, "gradcam", preprocessing=Preprocessing((3, 16, 16)))


def test_every_kind_of_image(tmp_path: Path) -> None:
    net = Net(POOLS["mean"])
    (tmp_path / "a.png").write_bytes(png(PICTURE))
    ways = [
        PICTURE,
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        np.asarray(PICTURE),
        SIZE(PICTURE),
        SIZE(PICTURE)[None],
    ]
    maps = [cam(net, way, 0, preprocessing=SIZE) for way in ways]
    for made in maps:
        assert np.allclose(made.heat, maps[0].heat, atol=1e-6)
        assert np.array_equal(np.asarray(made.picture), np.asarray(PICTURE))
    for wrong, match in (
        (np.zeros((4, 4, 3), dtype=np.float32), "must be uint8"),
        (torch.zeros(1, 24, 32), "has the shape"),
        (tmp_path / "b.png", "there is no file"),
    ):
        with pytest.raises(DataError, match=match):
            cam(net, wrong, preprocessing=SIZE)


def test_the_resized_map_lies_where_the_map_lies() -> None:
    """A network whose feature map is the picture itself, shrunk, and a bright spot in it."""

    class Bright(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = F.avg_pool2d(x, 8)
            return x.mean((2, 3))[:, :2]

    pixels = np.zeros((80, 160, 3), dtype=np.uint8)
    pixels[50:60, 100:110] = 255
    made = cam(Bright(), Image.fromarray(pixels), 0, preprocessing=Preprocessing((3, 64, 64), resize="linear"))
    assert made.picture.size == (80, 80)
    resized = made.resized
    assert resized.shape == (80, 80)
    assert 0 <= resized.min() <= resized.max() <= 1
    row, column = np.unravel_index(resized.argmax(), resized.shape)
    assert abs(row - 55) <= 6
    assert abs(column - (105 - 40)) <= 6
    colours = np.asarray(overlay(made, side=80), dtype=int)
    assert colours[row, column, 0] - colours[row, column, 2] > 30


def test_the_colours_are_those_of_turbo() -> None:
    values = np.linspace(0, 1, 64, dtype=np.float32)[None]
    theirs = colormaps["turbo"](values)[..., :3] * 255
    assert np.abs(turbo(values) - theirs).max() < 8


def test_a_figure_has_the_picture_and_every_map() -> None:
    made = cam(Net(POOLS["mean"]), PICTURE, 0, preprocessing=SIZE)
    one, two = figure([made]), figure([made, made], class_names=list("abcde"))
    assert two.width - one.width > SIDE
    assert one.height == two.height
    panel = np.asarray(two)[12 : 12 + 336, 12 + SIDE + 12 : 12 + SIDE + 12 + SIDE]
    assert np.array_equal(panel, np.asarray(overlay(made)))
    with pytest.raises(DataError, match="at least one"):
        figure([])


def test_a_figure_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be written"):
        save_figure(PICTURE, tmp_path / "missing" / "a.png")


def command(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["cam", *arguments], prog_name="kswap")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    conversion = kswap.convert("mobilenetv3_small_050", ch=8, num_classes=3, input_size=(96, 96), device="cpu", seed=0)
    return conversion.save(tmp_path_factory.mktemp("cam") / "small")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    path.write_bytes(png(noise(5, (120, 100))))
    return path


FACTORY = """
from torch import nn

def tiny():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
"""


def test_a_saved_model_and_one_of_ones_own_stand_side_by_side(saved: Path, image: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(FACTORY)
    out = tmp_path / "cam.png"
    own = f"{tmp_path / 'own.py'}:tiny"
    result = command(str(saved), own, "--image", str(image), "--class", "1", "--out", str(out), "--device", "cpu")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "small: class 1, " in lines[0]
    assert "cam 3x3, by slope: layers stand between pool and classifier" in lines[0]
    assert lines[1].startswith(f"{own}: class 1, ")
    assert lines[1].endswith("cam 28x28")
    with Image.open(out) as written:
        assert written.format == "PNG"
        assert written.width > 3 * SIDE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cam.png", "image.png", "own.py"]


def test_the_maps_as_json(saved: Path, image: Path, tmp_path: Path) -> None:
    out = tmp_path / "cam.png"
    result = command(str(saved), "--image", str(image), "--out", str(out), "--device", "cpu", "--format", "json")
    assert result.exit_code == 0, result.output
    [entry] = json.loads(result.stdout)
    assert (entry["method"], entry["linear"]) == ("cam", False)
    assert 0 < entry["probability"] <= 1
    assert np.array(entry["heat"]).shape == (3, 3)
    assert np.array(entry["heat"]).max() == 1


def test_a_frozen_norm_stays_frozen() -> None:
    net = Net(POOLS["mean"]).train()
    net.norm.eval()
    cam(net, PICTURE, 0, preprocessing=SIZE)
    assert not net.norm.training
    assert net.features.training


def test_a_line_of_pixels_is_refused(saved: Path, tmp_path: Path) -> None:
    """Its 92 bytes took 12 GB, since its shorter side was resized to the input's."""
    (tmp_path / "line.png").write_bytes(png(Image.new("1", (700_000, 1))))
    result = command(str(saved), "--image", str(tmp_path / "line.png"), "--out", str(tmp_path / "a.png"))
    assert result.exit_code == 2
    assert result.stderr.splitlines() == ["Error: a picture of 700,000 x 1 pixels is too narrow for 96x96: crop it"]
    assert not (tmp_path / "a.png").exists()


def test_the_baseline_has_its_published_weights(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a connection there are none: the builder is told here that fresh ones are the published."""
    from kswap.analysis.loaded_model import baseline_of
    from kswap.sources.builders import build
    from kswap.sources.source import Source

    with pytest.raises(ModelError, match=r"published weights for 1000 classes, .* has 3: pass a trained baseline"):
        baseline_of(saved)
    whole = kswap.convert("mobilenetv3_small_050", ch=8, input_size=(64, 64), device="cpu", seed=0)
    directory = whole.save(tmp_path / "whole")
    asked: list[bool] = []

    def offline(source: Source, pretrained: bool = False) -> nn.Module:
        asked.append(pretrained)
        return build(source)

    monkeypatch.setattr("kswap.analysis.loaded_model.build", offline)
    loaded = baseline_of(directory, "cpu")
    assert asked == [True]
    assert loaded.title == "mobilenetv3_small_050 (baseline)"
    assert loaded.preprocessing.input_size == (3, 64, 64)
    assert cam(loaded.model, noise(0, (64, 64)), preprocessing=loaded.preprocessing).heat.shape == (2, 2)

    def unreachable(source: Source, pretrained: bool = False) -> nn.Module:
        raise ModelError("the weights cannot be fetched without a connection: go online")

    monkeypatch.setattr("kswap.analysis.loaded_model.build", unreachable)
    with pytest.raises(KswapError, match="without a connection: go online; or pass a trained baseline as a second"):
        baseline_of(directory)


def test_the_baseline_of_weights_of_a_file(tmp_path: Path, image: Path) -> None:
    original = timm.create_model("mobilenetv3_small_050", num_classes=3)
    torch.save(original.state_dict(), tmp_path / "mine.pth")
    options = {"num_classes": 3, "weights": tmp_path / "mine.pth", "input_size": (64, 64), "device": "cpu", "seed": 0}
    root = kswap.convert("mobilenetv3_small_050", ch=8, **options).save(tmp_path / "saved")
    asked = (str(root), "--baseline", "--image", str(image), "--out", str(tmp_path / "cam.png"), "--class", "1")
    refused = command(*asked)
    assert refused.exit_code == 2
    assert "was converted with weights from the file mine.pth: pass --weights mine.pth" in refused.stderr
    result = command(*asked, "--weights", str(tmp_path / "mine.pth"), "--format", "json", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    size = Preprocessing.of(original, (3, 64, 64))
    wanted = cam(original, image, 1, preprocessing=size)
    found, _ = json.loads(result.stdout)
    assert np.allclose(found["heat"], wanted.heat, atol=1e-4)
    named = ("mobilenetv3_small_050", str(root), "--weights", str(tmp_path / "mine.pth"), "--num-classes", "3")
    result = command(*named, *asked[2:], "--format", "json", "--device", "cpu", "--input-size", "64")
    assert np.allclose(json.loads(result.stdout)[0]["heat"], wanted.heat, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--image", "{image}", "--out", "{dir}/a.jpg"], "must end in .png"),
        (["--image", "{image}x", "--out", "{dir}/a.png"], "there is no file"),
        (["--image", "{dir}/own.py", "--out", "{dir}/a.png"], "is not a picture that kswap reads"),
        (["--image", "{image}", "--out", "{dir}/no/a.png"], "cannot be written"),
        (["--image", "{image}", "--class", "3", "--out", "{dir}/a.png"], "there is no class 3"),
        (["--image", "{image}", "--input-size", "32", "--out", "{dir}/a.png"], "single position at 32x32"),
        (["--image", "{image}", "--baseline", "--out", "{dir}/a.png"], "pass a trained baseline as a second MODEL"),
        (["--image", "{image}"], "Missing option '--out'"),
    ],
)
def test_mistakes_on_the_command_line(saved: Path, image: Path, tmp_path: Path, options: list[str], match: str) -> None:
    (tmp_path / "own.py").write_text(FACTORY)
    filled = [option.format(image=image, dir=tmp_path) for option in options]
    result = command(str(saved), "--device", "cpu", *filled)
    assert result.exit_code == 2, result.output
    assert match in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("*.png.part"))
    assert not (tmp_path / "a.png").exists()


OWN = """
from torch import nn

def wide():
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, 8), nn.Conv2d(64, 64, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 3)
    )
"""


def test_code_of_ones_own_in_a_saved_directory_has_to_be_trusted(image: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    made = kswap.convert(f"{tmp_path / 'own.py'}:wide", ch=8, input_size=(64, 64), device="cpu", seed=0)
    directory, out = made.save(tmp_path / "saved"), tmp_path / "a.png"
    options = [str(directory), "--image", str(image), "--out", str(out), "--device", "cpu"]
    refused = command(*options)
    assert refused.exit_code == 2
    assert "trust" in refused.stderr
    assert not out.exists()
    assert command(*options, "--trust-source").exit_code == 0
    assert out.exists()


def test_a_network_of_the_papers() -> None:
    conversion = kswap.convert("papers/mobilenet", ch=16, scheme="v1", num_classes=10, input_size=(96, 96), seed=0)
    made = cam(conversion, noise(2, (96, 96)), 4, device="cpu")
    model = conversion.model.cpu().eval()
    with torch.no_grad():
        features = model.forward_features(made.preprocessing(noise(2, (96, 96)))[None])[0]
        expected = torch.einsum("c,chw->hw", model.get_classifier().weight[4].flatten(), features).numpy()
    assert made.linear
    assert np.allclose(made.evidence, expected, rtol=1e-3, atol=1e-6)
