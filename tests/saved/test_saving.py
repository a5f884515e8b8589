"""Directories: written whole or not at all, loaded anywhere, and nothing hostile gets through."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import kswap
from kswap.errors import SavedError
from kswap.saved.files import FILES, PLAN, REPORT, WEIGHTS
from kswap.saved.reading import read_report

SMALL = "mobilenetv3_small_050"
X = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def output(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = model.eval()(X)
    return result


@pytest.fixture(scope="module")
def conversion() -> kswap.Conversion:
    conversion = kswap.convert(SMALL, ch=8, num_classes=10, device="cpu", seed=1)
    conversion.model.train()(X)  # moves the running statistics
    return conversion


@pytest.fixture(scope="module")
def master(conversion: kswap.Conversion, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return conversion.save(tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture
def saved(master: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(master, tmp_path / "model"))


def edit(directory: Path, change: Callable[[dict[str, Any]], None], name: str = PLAN) -> None:
    data = json.loads((directory / name).read_text())
    change(data)
    (directory / name).write_text(json.dumps(data))


def test_round_trip(conversion: kswap.Conversion, saved: Path) -> None:
    loaded = kswap.load(saved)
    assert torch.equal(output(loaded.model), output(conversion.model))
    assert loaded.plan == conversion.plan
    assert loaded.report == conversion.report
    assert not loaded.model.training
    assert type(loaded.model) is type(conversion.model)
    assert {p.name for p in saved.iterdir()} == set(FILES)


def test_a_process_that_never_saw_the_model(conversion: kswap.Conversion, saved: Path) -> None:
    expected = output(conversion.model)
    torch.save({"x": X, "y": expected}, saved.parent / "xy.pt")
    code = (
        "import sys, torch, kswap\n"
        "xy = torch.load(sys.argv[2], weights_only=True)\n"
        "model = kswap.load(sys.argv[1]).model\n"
        "with torch.no_grad(): assert torch.equal(model(xy['x']), xy['y'])\n"
    )
    subprocess.run([sys.executable, "-c", code, str(saved), str(saved.parent / "xy.pt")], check=True)


def test_loaded_can_be_saved_again(saved: Path, tmp_path: Path) -> None:
    again = kswap.load(saved).save(tmp_path / "again")
    assert torch.equal(output(kswap.load(again).model), output(kswap.load(saved).model))


def test_existing_directories(conversion: kswap.Conversion, saved: Path, tmp_path: Path) -> None:
    with pytest.raises(SavedError, match="pass force=True to overwrite it"):
        conversion.save(saved)
    conversion.save(saved, force=True)
    kswap.load(saved)
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "cat.jpg").write_text("meow")
    with pytest.raises(SavedError, match="not of kswap"):
        conversion.save(foreign, force=True)
    assert (foreign / "cat.jpg").read_text() == "meow"
    (saved / "mine.txt").write_text("keep me")
    with pytest.raises(SavedError, match="not of kswap"):
        conversion.save(saved, force=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert conversion.save(empty) == empty


def test_places_that_cannot_be_written(conversion: kswap.Conversion, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SavedError, match="not a directory"):
        conversion.save(tmp_path / "file")
    with pytest.raises(SavedError, match=r"cannot be written|no permission"):
        conversion.save(tmp_path / "file" / "below")
    with pytest.raises(SavedError, match=r"cannot be written|no permission"):
        conversion.save("/proc/kswap/model")


@pytest.mark.parametrize("stage", ["kswap.saved.directory.text_of", "kswap.saved.weights.save_model"])
def test_an_interrupted_save_leaves_nothing(
    conversion: kswap.Conversion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, stop)
    with pytest.raises(KeyboardInterrupt):
        conversion.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_overwrite_leaves_the_old_one(
    conversion: kswap.Conversion, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "kswap.saved.weights.save_model", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "disk full"))
    )
    with pytest.raises(SavedError, match="disk full"):
        conversion.save(saved, force=True)
    monkeypatch.undo()
    assert torch.equal(output(kswap.load(saved).model), output(conversion.model))
    assert [p.name for p in saved.parent.iterdir()] == ["model"]


def truncate(directory: Path) -> None:
    data = (directory / WEIGHTS).read_bytes()
    (directory / WEIGHTS).write_bytes(data[: len(data) // 2])


def flip(directory: Path) -> None:
    data = bytearray((directory / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (directory / WEIGHTS).write_bytes(data)


def oversized_header(directory: Path) -> None:
    (directory / WEIGHTS).write_bytes(struct.pack("<Q", 2**62) + b"{}")


def pickle_weights(directory: Path) -> None:
    torch.save({"a": torch.zeros(1)}, directory / WEIGHTS)


def link_out(directory: Path) -> None:
    (directory.parent / "secret.json").write_text((directory / PLAN).read_text())
    (directory / PLAN).unlink()
    (directory / PLAN).symlink_to("../secret.json")


def set_source(**source: Any) -> Callable[[Path], None]:
    return lambda directory: edit(directory, lambda d: d["source"].update(source))


def set_plan(**plan: Any) -> Callable[[Path], None]:
    return lambda directory: edit(directory, lambda d: d["plan"].update(plan))


def set_key(**keys: Any) -> Callable[[Path], None]:
    return lambda directory: edit(directory, lambda d: d.update(keys))


def other_channels(directory: Path) -> None:
    def change(data: dict[str, Any]) -> None:
        site = next(s for s in data["plan"]["sites"] if s["action"] == "replace")
        site["in_channels"] *= 2
        for key in ("k", "l", "interleave_step"):
            site.pop(key)

    edit(directory, change)


def outside(directory: Path) -> None:
    def change(data: dict[str, Any]) -> None:
        next(s for s in data["plan"]["sites"] if s["action"] == "replace")["name"] = "../../etc"

    edit(directory, change)


def fifo(directory: Path) -> None:
    (directory / PLAN).unlink()
    os.mkfifo(directory / PLAN)


HOSTILE = {
    "truncated weights": (truncate, "hash differs"),
    "one bit": (flip, "hash differs"),
    "oversized header": (oversized_header, "header"),
    "a pickle": (pickle_weights, "header|hash"),
    "no weights": (lambda d: (d / WEIGHTS).unlink(), "has no model.safetensors"),
    "no plan": (lambda d: (d / PLAN).unlink(), "has no plan.json"),
    "no report": (lambda d: (d / REPORT).unlink(), "has no report.json"),
    "a link that leads out": (link_out, "link that leads out"),
    "a pipe": (fifo, "has no plan.json"),
    "no json": (lambda d: (d / PLAN).write_text("{"), "no valid JSON"),
    "deep json": (lambda d: (d / PLAN).write_text("[" * 100_000), "no valid JSON|names no format"),
    "binary": (lambda d: (d / PLAN).write_bytes(b"\xff\xfe\x00"), "not UTF-8"),
    "a list": (lambda d: (d / PLAN).write_text("[]"), "names no format"),
    "unknown format": (set_key(format=99), "format 99"),
    "wrong base hash": (set_key(base_hash="0" * 64), "layers differ"),
    "wrong weights hash": (set_key(weights_sha256="0" * 64), "hash differs"),
    "source of .* must be a table, not null": (set_key(source=None), "source of .* must be a table, not null"),
    "unknown kind": (set_source(kind="shell", name="rm -rf"), "unknown kind of model 'shell'"),
    "unknown model": (set_source(name="efficientnet_bo"), "unknown model"),
    "another model": (set_source(name="mobilenetv3_small_100"), "layers differ"),
    "a hub": (set_source(name="hf-hub:someone/model"), "trust"),
    "a local directory": (set_source(name="local-dir:/etc"), "trust"),
    "pretrained": (set_source(kwargs={"pretrained": True}), "sets pretrained"),
    "a checkpoint": (set_source(kwargs={"checkpoint_path": "/etc/passwd"}), "sets checkpoint_path"),
    "a drop that is none": (set_source(drops={"bn1": ["Linear", 0.5]}), "cannot be a 'Linear'"),
    "a drop of nothing": (set_source(drops={"nowhere": ["Dropout", 0.5]}), "no module 'nowhere'"),
    "drops that are none": (set_source(drops=[1]), "drops of .* must be a table, not a list"),
    "code": (set_source(kind="import", name="os:getcwd"), "trust"),
    "a file of code": (set_source(kind="file", name="/etc/evil.py:run"), "trust"),
    "an unknown argument": (set_source(kwargs={"evil": 1}), "cannot be built"),
    "a site outside": (set_plan(sites=[{"name": "../../etc", "action": "keep"}]), "lacks"),
    "a module outside": (outside, "no module"),
    "other channels": (other_channels, "has channels"),
    "a plan that is none": (set_key(plan=[1, 2]), "plan of .* cannot be read"),
    "integers as weights": (set_key(dtype="int8"), "dtype of .* must be one of .* not 'int8'"),
    "complex weights": (set_key(dtype="complex64"), "dtype of .* not 'complex64'"),
    "float8 weights": (set_key(dtype="float8_e4m3fn"), "dtype of .* not 'float8_e4m3fn'"),
    "a dtype that is a list": (set_key(dtype=["float32"]), "dtype of .* not a list"),
    "frozen that is a number": (set_key(frozen=3), "frozen of .* must be a list, not 3"),
    "frozen that holds lists": (set_key(frozen=[["a"]]), r"frozen\[0\] of .* must be a text, not a list"),
    "a drop without a name": (set_source(drops={"": ["Dropout", 0.5]}), "a Dropout has no name"),
    "a drop of a list": (set_source(drops={"bn1": [["Dropout"], 0.5]}), "drops.bn1.* must be a text, not a list"),
    "a model that does not fit in memory": (set_source(kwargs={"num_classes": 10**12}), "layers differ"),
    "a negative input size": (set_plan(input_size=[3, -224, 224]), "input_size"),
    "a huge input size": (set_plan(input_size=[3, 10**9, 10**9]), "input_size"),
    "inputs that are a number": (set_key(inputs=10**9), "inputs of .* must be a table of args and kwargs"),
    "a huge input": (
        set_key(inputs={"args": [{"shape": [2**30] * 16, "dtype": "int8"}], "kwargs": {}}),
        "inputs of .* an input tensor has a shape",
    ),
    "infinite counts": (set_plan(before={"params": float("inf")}), "plan of .* cannot be read"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_damaged_and_hostile_directories(saved: Path, case: str) -> None:
    damage, message = HOSTILE[case]
    damage(saved)
    with pytest.raises(kswap.KswapError, match=message) as error:
        kswap.load(saved)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_directories_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(SavedError, match="there is no directory"):
        kswap.load(tmp_path / "nothing")
    with pytest.raises(SavedError, match="not a directory that kswap saved"):
        kswap.load(tmp_path)


FACTORY = """
import torch
from torch import nn
def tiny(width=64):
    print("the code ran")
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU())
"""


def test_code_of_a_user_runs_only_when_trusted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nets.py").write_text(FACTORY)
    conversion = kswap.convert(f"{tmp_path / 'nets.py'}:tiny", ch=8, device="cpu", width=48)
    directory = conversion.save(tmp_path / "model")
    capsys.readouterr()
    with pytest.raises(SavedError, match="trust_source=True"):
        kswap.load(directory)
    assert capsys.readouterr().out == ""
    loaded = kswap.load(directory, trust_source=True)
    assert torch.equal(output(loaded.model), output(conversion.model))


def test_a_module_of_the_user_is_passed_again(tmp_path: Path) -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 48, 3), nn.Conv2d(48, 48, 1), nn.ReLU())

    conversion = kswap.convert(build(), ch=8)
    directory = conversion.save(tmp_path / "model")
    with pytest.raises(SavedError, match="model="):
        kswap.load(directory)
    loaded = kswap.load(directory, model=build())
    assert torch.equal(output(loaded.model), output(conversion.model))


def test_a_timm_module_loads_by_itself(tmp_path: Path) -> None:
    import timm

    model = timm.create_model(SMALL, num_classes=7)
    directory = kswap.convert(model, ch=8).save(tmp_path / "model")
    assert kswap.load(directory).model.num_classes == 7
    model = timm.create_model(SMALL, num_classes=7, drop_path_rate=0.2, drop_rate=0.1)
    loaded = kswap.load(kswap.convert(model, ch=8).save(tmp_path / "drops")).model
    assert loaded.drop_rate == 0.1
    rates = [[m.drop_prob for m in net.modules() if type(m).__name__ == "DropPath"] for net in (model, loaded)]
    assert rates[0] == rates[1]
    assert max(rates[0]) > 0.1
    changed = timm.create_model(SMALL, num_classes=7, act_layer="relu")
    directory = kswap.convert(changed, ch=8).save(tmp_path / "changed")
    with pytest.raises(SavedError, match="model="):
        kswap.load(directory)


def test_tied_and_frozen_and_half(tmp_path: Path) -> None:
    def build() -> nn.Module:
        model = nn.Sequential(nn.Conv2d(3, 48, 1), nn.Conv2d(48, 48, 3), nn.Conv2d(48, 48, 3), nn.Conv2d(48, 48, 1))
        model.append(nn.ReLU())
        model[2].weight = model[1].weight
        model[1].bias.requires_grad_(False)
        return model

    conversion = kswap.convert(build(), ch=8)
    conversion.model.bfloat16()
    loaded = kswap.load(conversion.save(tmp_path / "model"), model=build()).model
    assert loaded[2].weight is loaded[1].weight
    assert not loaded[1].bias.requires_grad
    assert loaded[3].k.first.weight.requires_grad
    x = X.bfloat16()
    with torch.no_grad():
        assert torch.equal(loaded(x), conversion.model(x))


def test_a_saved_directory_names_its_original(saved: Path) -> None:
    again = kswap.convert(str(saved), ch=16, device="cpu", seed=0)
    assert again.report.params.before == kswap.load(saved).report.params.before
    assert torch.equal(again.model.conv_stem.weight, kswap.load(saved).model.conv_stem.weight)


def test_reports_are_read_without_building(saved: Path) -> None:
    (saved / WEIGHTS).unlink()
    assert read_report(saved).model == SMALL
    assert read_report(saved / REPORT) == read_report(saved)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_loads_on_cuda(conversion: kswap.Conversion, saved: Path) -> None:
    model = kswap.load(saved, device="cuda").model
    with torch.no_grad():
        torch.testing.assert_close(model(X.cuda()).cpu(), output(conversion.model), rtol=1e-3, atol=1e-3)
