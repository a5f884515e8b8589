"""``python -m kswap.timm`` runs a script that knows timm only."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import timm
import torch
from pictures_fixture import noise

from kswap.timm.__main__ import main

SCRIPT = Path(__file__).with_name("script.py")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number in range(6):
        for split in ("train", "validation"):
            folder = tmp_path / "pictures" / split / f"class{number % 3}"
            folder.mkdir(parents=True, exist_ok=True)
            noise(number, (32, 32)).save(folder / f"{number}.png")
    return tmp_path / "pictures"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["kswap/timm/__main__.py", *map(str, arguments)])
    monkeypatch.setattr(sys, "path", ["somewhere", *sys.path])
    return main()


def test_a_script_trains_saves_and_resumes(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    common = [SCRIPT, "--data-dir", pictures, "--model", "kswap_test_efficientnet.ch8"]
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    assert run(monkeypatch, *common, "--output", tmp_path / "whole", "--epochs", 2) == 0
    assert sys.argv[0] == str(SCRIPT)
    assert sys.path[0] == str(SCRIPT.parent)
    assert run(monkeypatch, *common, "--output", tmp_path / "parts") == 0
    first = tmp_path / "parts" / "last.pth.tar"
    assert run(monkeypatch, *common, "--output", tmp_path / "parts", "--epochs", 2, "--resume", first) == 0
    printed = capsys.readouterr().out
    assert printed.count("epoch 0 loss") == 2
    assert printed.count("epoch 1 loss") == 2
    for directory in ("whole", "parts"):
        saved = tmp_path / directory / "last.pth.tar"
        content = torch.load(saved, weights_only=False)
        assert content["epoch"] == 1
        assert content["args"].model == "kswap_test_efficientnet.ch8"
        model = timm.create_model("kswap_test_efficientnet.ch8", num_classes=3, checkpoint_path=str(saved))
        assert any(".k." in name for name, _ in model.named_parameters())


def test_what_cannot_be_run_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--help") == 0
    assert capsys.readouterr().out.startswith("usage: python -m kswap.timm SCRIPT.py")
    assert run(monkeypatch, tmp_path / "none.py") == 2
    assert capsys.readouterr().err.startswith("Error: there is no script")
    assert run(monkeypatch) == 2
    capsys.readouterr()
    script = tmp_path / "own.py"
    script.write_text("import timm; timm.create_model('kswap_test_resnet.ch8', ch=16)")
    assert run(monkeypatch, script) == 2
    assert capsys.readouterr().err == ("Error: kswap_test_resnet.ch8 and ch=16 contradict each other: leave one out\n")
