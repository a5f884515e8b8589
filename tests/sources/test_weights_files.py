"""Trained weights of the user's own: which files and wrappings are read, which are refused, and that no code runs."""

from __future__ import annotations

import argparse
import collections
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from click.testing import CliRunner
from safetensors.torch import save_file, save_model
from torch import Tensor, nn

import kswap
from kswap.cli.main import main
from kswap.errors import ModelError

NAME, CLASSES = "test_efficientnet", 5
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    torch.manual_seed(1)
    model = timm.create_model(NAME, num_classes=CLASSES)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    return model


def convert(weights: Path, **options: Any) -> kswap.Conversion:
    options = {"num_classes": CLASSES, "ch": 8, "input_size": (32, 32), "device": "cpu", "seed": 0} | options
    return kswap.convert(NAME, weights=weights, **options)


def holds(conversion: kswap.Conversion, wanted: State) -> bool:
    """Whether the converted model has every tensor of ``wanted`` that is not of a replaced layer, and some at all."""
    own = conversion.model.state_dict()
    shared = [name for name in wanted if name in own and own[name].shape == wanted[name].shape]
    return len(shared) > 20 and all(torch.equal(own[name], wanted[name]) for name in shared)


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: value for name, value in state.items()}


WRAPPINGS: dict[str, Callable[[State], Any]] = {
    "plain": lambda state: state,
    "ordered": collections.OrderedDict,
    "timm": lambda state: {"epoch": 3, "arch": NAME, "args": argparse.Namespace(lr=0.1), "state_dict": state},
    "averaged": lambda state: {
        "state_dict": {name: torch.zeros_like(value) for name, value in state.items()},
        "state_dict_ema": state,
    },
    "torchvision": lambda state: {
        "model": state,
        "model_ema": {"n_averaged": torch.tensor(3), **prefixed(state, "module.")},
    },
    "tutorial": lambda state: {"model_state_dict": state, "optimizer_state_dict": {"state": {}, "param_groups": []}},
    "net": lambda state: {"net": state, "acc": 93.5, "epoch": 199},
    "nested": lambda state: {"state_dict": {"model": state}},
    "parallel": lambda state: {"state_dict": prefixed(state, "module.")},
    "compiled": lambda state: prefixed(state, "_orig_mod."),
    "parallel and compiled": lambda state: prefixed(state, "module._orig_mod."),
    "a compiled part": lambda state: {name.replace("blocks.0.", "blocks.0._orig_mod."): v for name, v in state.items()},
    "lightning": lambda state: {
        "state_dict": {**prefixed(state, "model."), "loss.weight": torch.ones(CLASSES)},
        "pytorch-lightning_version": "2.5.0",
        "hyper_parameters": {"lr": 0.1},
    },
    "half precision": lambda state: {k: v.half() if v.is_floating_point() else v for k, v in state.items()},
    "no counts of batches": lambda state: {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_wrappings(wrapping: str, trained: nn.Module, tmp_path: Path) -> None:
    file = tmp_path / "mine.pth"
    torch.save(WRAPPINGS[wrapping](trained.state_dict()), file)
    wanted = {k: v.half().float() if v.is_floating_point() else v for k, v in trained.state_dict().items()}
    assert holds(convert(file), wanted if wrapping == "half precision" else trained.state_dict())


def test_formats(trained: nn.Module, tmp_path: Path) -> None:
    """Whatever the name's ending: safetensors, the zip of today, and the pickles of torch before 1.6."""
    save_file(trained.state_dict(), tmp_path / "a.bin")
    torch.save(trained.state_dict(), tmp_path / "b")
    torch.save(trained.state_dict(), tmp_path / "c.pth", _use_new_zipfile_serialization=False)
    for file in sorted(tmp_path.iterdir()):
        assert holds(convert(file), trained.state_dict()), file.name


class Tied(nn.Module):
    """Its second layer is the first; it has a buffer that is not saved, and its parts are called as a wrapper is."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.ModuleList([nn.Conv2d(32, 32, 1), nn.Conv2d(32, 32, 1)])
        self.model[1].weight = self.model[0].weight
        self.register_buffer("grid", torch.ones(2), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.model[1](self.model[0](x).relu())  # type: ignore[no-any-return]


def test_tied_weights_and_buffers_that_are_not_saved(tmp_path: Path) -> None:
    from kswap.sources.trained import load_checkpoint_

    wanted, model = Tied(), Tied()
    save_model(wanted, str(tmp_path / "tied.safetensors"))
    load_checkpoint_(model, tmp_path / "tied.safetensors", "Tied")
    assert all(torch.equal(model.state_dict()[name], value) for name, value in wanted.state_dict().items())
    torch.save({**prefixed(wanted.state_dict(), "module."), "module.grid": torch.zeros(3)}, tmp_path / "older.pth")
    load_checkpoint_(Tied(), tmp_path / "older.pth", "Tied")


class Marks:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
def test_no_code_in_a_file_runs(new_format: bool, trained: nn.Module, tmp_path: Path) -> None:
    file, mark = tmp_path / "evil.pth", tmp_path / "ran"
    content = {"state_dict": trained.state_dict(), "extra": Marks(mark)}
    torch.save(content, file, _use_new_zipfile_serialization=new_format)
    with pytest.raises(
        ModelError, match=r"evil.pth runs code when it is read \(.+\), which kswap does not allow: save"
    ):
        convert(file)
    file.write_bytes(pickle.dumps(Marks(mark)))
    with pytest.raises(ModelError):
        convert(file)
    assert not mark.exists()
    torch.save(trained, file)
    with pytest.raises(ModelError, match=r"\(timm\.models\._?efficientnet\.EfficientNet\)"):
        convert(file)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-300])


def loop(file: Path) -> None:
    endless: dict[str, Any] = {"epoch": 1}
    endless["model"] = endless
    torch.save(endless, file)


def script(file: Path) -> None:
    with pytest.warns((FutureWarning, DeprecationWarning)):
        torch.jit.save(torch.jit.script(nn.ReLU()), file)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda file: file.unlink(), "there is no file"),
    "directory": (lambda file: (file.unlink(), file.mkdir()), "is a directory: name the file"),
    "empty": (lambda file: file.write_bytes(b""), "is damaged, or neither safetensors nor"),
    "text": (lambda file: file.write_text("version https://git-lfs.github.com/spec/v1\n"), "is damaged, or neither"),
    "truncated": (cut, "is damaged, or neither"),
    "truncated safetensors": (
        lambda file: (save_file({"a": torch.ones(500)}, file), cut(file)),
        "is damaged: ",
    ),
    "a number": (lambda file: torch.save(3, file), "holds a int instead of a state dict"),
    "no weights": (lambda file: torch.save({"epoch": 1, "\x1b[31m": 2}, file), r"no weights \(its keys: epoch, \\x1b"),
    "itself": (loop, "holds no weights"),
    "torchscript": (script, "is a TorchScript program"),
    "sparse": (lambda file: torch.save({"conv_stem.weight": torch.ones(3, 3).to_sparse()}, file), "not a plain tensor"),
    "meta": (lambda file: torch.save({"conv_stem.weight": torch.ones(3, device="meta")}, file), "not a plain tensor"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.filterwarnings("ignore")
def test_files_that_are_refused(case: str, trained: nn.Module, tmp_path: Path) -> None:
    make, message = REFUSED[case]
    file = tmp_path / "file.pth"
    torch.save(trained.state_dict(), file)
    make(file)
    with pytest.raises(ModelError, match=message) as caught:
        convert(file)
    assert str(caught.value).isprintable()


def test_a_file_that_does_not_fit_says_which_keys(trained: nn.Module, tmp_path: Path) -> None:
    state = {name: value for name, value in trained.state_dict().items() if not name.startswith("blocks.0.")}
    state |= {f"stem.{number}\x1b": torch.ones(1) for number in range(5)}
    state["conv_stem.weight"] = torch.ones(24, 1, 3, 3)
    state["bn1.bias"] = torch.ones(24, dtype=torch.int64)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(ModelError) as caught:
        convert(tmp_path / "other.pth")
    said = str(caught.value)
    assert f"other.pth does not fit {NAME}: 5 keys are missing in it (blocks.0.0.conv.weight, " in said
    assert ", and 2 more), 5 keys are not of the model (stem.0\\x1b, stem.1\\x1b, stem.2\\x1b, and 2 more)" in said
    assert "2 tensors are of another shape or type (conv_stem.weight: 24x1x3x3 instead of 24x3x3x3, " in said
    assert said.endswith("bn1.bias: torch.int64 instead of torch.float32)")


def test_another_number_of_classes_is_said(trained: nn.Module, tmp_path: Path) -> None:
    file = tmp_path / "mine.pth"
    torch.save(trained.state_dict(), file)
    with pytest.raises(ModelError, match=r"classifier.weight: 5x256 instead of 9x256.*; pass num_classes=5$"):
        convert(file, num_classes=9)
    torch.save({k: v for k, v in trained.state_dict().items() if not k.startswith("classifier")}, file)
    with pytest.raises(ModelError, match=r"2 keys are missing .*; pass num_classes=0$"):
        convert(file)
    assert convert(file, num_classes=0).model(torch.zeros(2, 3, 32, 32)).shape == (2, 256)


def test_a_saved_conversion_needs_no_file(trained: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its report has the call that made it, with ``~`` for the user's home."""
    secret = tmp_path / "somebodys home" / "mine.pth"
    secret.parent.mkdir()
    monkeypatch.setenv("HOME", str(secret.parent))
    torch.save(trained.state_dict(), secret)
    conversion = convert(secret)
    assert conversion.source.weights_file == "mine.pth"
    assert "trained weights from the file mine.pth" in conversion.report.notes
    root = conversion.save(tmp_path / "saved")
    shutil.rmtree(secret.parent)
    again = kswap.load(root)
    assert all(torch.equal(v, again.model.state_dict()[k]) for k, v in conversion.model.state_dict().items())
    assert again.source.weights_file == "mine.pth"
    assert "trained weights from the file mine.pth" in again.report.notes
    assert not any("somebodys home" in file.read_text() for file in root.glob("*.*") if file.suffix != ".safetensors")


def test_a_directory_is_converted_again_with_weights(trained: nn.Module, tmp_path: Path) -> None:
    torch.save(trained.state_dict(), tmp_path / "mine.pth")
    root = kswap.convert(NAME, ch=8, num_classes=CLASSES, input_size=(32, 32), device="cpu").save(tmp_path / "fresh")
    again = kswap.convert(str(root), ch=16, weights=tmp_path / "mine.pth", input_size=(32, 32), device="cpu")
    assert holds(again, trained.state_dict())
    assert again.source.weights_file == "mine.pth"
    other = kswap.convert(str(again.save(tmp_path / "other")), ch=8, input_size=(32, 32), device="cpu")
    assert other.source.weights_file is None


def test_a_directory_is_converted_again_with_published_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a connection there are none: a builder stands for them here that writes a mark."""
    from kswap.sources import trained as module
    from kswap.sources.builders import build
    from kswap.sources.source import Source

    def published(source: Source, pretrained: bool = False) -> nn.Module:
        model = build(source)
        assert pretrained
        nn.init.constant_(model.classifier.bias, 7.0)  # type: ignore[union-attr, arg-type]
        return model

    root = kswap.convert(NAME, ch=8, num_classes=CLASSES, input_size=(32, 32), device="cpu").save(tmp_path / "fresh")
    monkeypatch.setattr(module, "build", published)
    again = kswap.convert(str(root), ch=16, pretrained=True, input_size=(32, 32), device="cpu").model
    assert (again.classifier.bias == 7.0).all()  # type: ignore[union-attr, operator]


def test_a_module_keeps_what_it_holds(trained: nn.Module, tmp_path: Path) -> None:
    conversion = kswap.convert(trained, ch=8, input_size=(32, 32), seed=0)
    assert holds(conversion, trained.state_dict())
    with pytest.raises(ModelError, match="weights can only be given with a model's name"):
        kswap.convert(trained, weights=tmp_path / "mine.pth")


def test_every_kind_of_source_takes_weights(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Conv2d(64, 64, 1), nn.Conv2d(64, 5, 3))\n"
    )
    own = nn.Sequential(nn.Conv2d(64, 64, 1), nn.Conv2d(64, 5, 3))
    torch.save(own.state_dict(), tmp_path / "net.pth")
    made = kswap.convert(f"{tmp_path}/net.py:net", weights=tmp_path / "net.pth", input_size=(8, 8), device="cpu")
    assert torch.equal(made.model[1].weight, own[1].weight)  # type: ignore[index]
    import torchvision

    vision = torchvision.models.shufflenet_v2_x0_5()
    torch.save(vision.state_dict(), tmp_path / "vision.pth")
    model = kswap.create_model("torchvision/shufflenet_v2_x0_5", weights=tmp_path / "vision.pth")
    assert torch.equal(model.conv1[0].weight, vision.conv1[0].weight)  # type: ignore[index, union-attr]


def command(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="kswap")
    return result.exit_code, result.stdout, result.stderr


def test_the_command_line(trained: nn.Module, tmp_path: Path) -> None:
    file, out = tmp_path / "mine.pth", tmp_path / "out"
    torch.save({"state_dict": trained.state_dict()}, file)
    common = ("convert", NAME, "--ch", 8, "--input-size", 32, "--device", "cpu", "--weights", file)
    code, stdout, _ = command(*common, "--num-classes", CLASSES, "--out", out, "--format", "json")
    assert code == 0
    assert "trained weights from the file mine.pth" in json.loads(stdout)["notes"]
    assert holds(kswap.load(out), trained.state_dict())
    for options, message in (
        (("--num-classes", 9), "; pass --num-classes 5"),
        (("--pretrained",), "--pretrained and --weights both say where the trained weights come from: leave one out"),
        (("--pretrained", "--dry-run"), "both say"),
    ):
        code, stdout, stderr = command(*common, *options, "--out", tmp_path / "none")
        assert (code, stdout, len(stderr.splitlines())) == (2, "", 1)
        assert message in stderr
    assert not (tmp_path / "none").exists()
    assert "there is no file" in command("convert", NAME, "--weights", tmp_path / "typo.pth", "--dry-run")[2]


@pytest.mark.parametrize("name", ["/etc/passwd", "a/b.pth", "a\x1b[31m.pth"])
def test_a_source_remembers_a_name_and_no_path(name: str) -> None:
    from kswap.sources.source import Source

    with pytest.raises(ModelError, match="is no name of a file of weights"):
        Source("timm", NAME, weights_file=name)
