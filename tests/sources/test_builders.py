"""Building from names: the import path comes back, and the current directory hides no package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kswap.errors import KswapError, ModelError, SavedError
from kswap.sources.builders import build
from kswap.sources.source import Source, parse_source

NET = "from torch import nn\ndef net():\n    import {inner}\n    return nn.Conv2d({inner}.WIDTH, 1, 1)\n"


def test_the_import_path_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nets_of_a_test.py").write_text(NET.format(inner="widths_of_a_test"))
    (tmp_path / "widths_of_a_test.py").write_text("WIDTH = 7\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    before = list(sys.path)
    assert build(parse_source("nets_of_a_test:net")).in_channels == 7
    with pytest.raises(ModelError, match="No module named"):
        build(parse_source("no_such_module:net"))
    assert sys.path == before


def test_a_file_of_the_current_directory_hides_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sched.py").write_text("raise SystemExit('the wrong file ran')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    monkeypatch.delitem(sys.modules, "sched", raising=False)
    with pytest.raises(ModelError, match="scheduler, not a torch"):
        build(parse_source("sched:scheduler"))


@pytest.mark.parametrize("drops", [{"": ("Dropout", 0.5)}, {"a": ("Linear", 0.5)}, {"a": ("Dropout", float("nan"))}])
def test_dropout_layers_that_cannot_be(drops: dict[str, tuple[str, float]]) -> None:
    with pytest.raises(KswapError):
        Source("timm", "resnet18", drops=drops)


def test_arguments_that_json_has_not_are_not_saved() -> None:
    with pytest.raises(SavedError, match="cannot be written as JSON"):
        Source("timm", "resnet18", {"norm_layer": object()}).without_unsafe_arguments()
    assert Source("timm", "resnet18", {"pretrained": True}).without_unsafe_arguments().kwargs == {}
