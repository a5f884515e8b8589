"""What kswap 0.1.0 wrote into ``optimized.json`` is still read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import kswap
from kswap.errors import DeployError
from kswap.inference.format_1 import implementation_named
from kswap.inference.store import optimize_directory, read_optimizations

OLD = Path(__file__).parents[1] / "data" / "saved_by_0_1_0" / "test_efficientnet"


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("dense", "grouped.dense"),
        ("8 groups", "grouped.k(groups=8)"),
        ("spread, 3 groups", "grouped.k(groups=3,spread=1)"),
        ("4 groups and 2 dense", "grouped.k(extra=2,groups=4)"),
        ("12 groups of 16, dense", "grouped.collapse(groups=12,height=16)"),
        ("K 8 groups; L dense", "grouped.sum(k_groups=8,l_groups=1)"),
        ("K dense; L interleave, 4 groups", "grouped.sum(k_groups=1,l_groups=4,l_interleave=1)"),
        (
            "K spread, 3 groups and 5 dense; L 4 groups",
            "grouped.sum(k_extra=5,k_groups=3,k_spread=1,l_groups=4)",
        ),
    ],
)
def test_old_names_are_translated(form: str, text: str) -> None:
    assert str(implementation_named(form)) == text


@pytest.mark.parametrize("form", ["", "0 groups", "groups", "8 groups ", "K dense", "dense; L dense", None, 8, []])
def test_other_names_are_refused(form: object) -> None:
    with pytest.raises(DeployError, match="unknown form"):
        implementation_named(form)


def test_a_directory_of_the_first_format_is_built_as_before(tmp_path: Path) -> None:
    directory = shutil.copytree(OLD, tmp_path / "old")
    stored = json.loads((directory / "optimized.json").read_text())["targets"]["eager"]
    quick = kswap.load_optimized(directory)
    done = kswap.optimization_of(quick)
    assert [layer.params_after for layer in done.layers] == [layer["params_after"] for layer in stored["layers"]]
    assert (done.params_after, done.macs_after) == (stored["params_after"], stored["macs_after"])
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(quick(x), kswap.load(directory).model.eval()(x), rtol=1e-4, atol=1e-4)


def test_the_next_run_writes_the_second_format(tmp_path: Path) -> None:
    directory = shutil.copytree(OLD, tmp_path / "old")
    before = read_optimizations(directory)["eager"]
    optimize_directory(directory, "onnxruntime", autotune=False)
    data = json.loads((directory / "optimized.json").read_text())
    assert data["format"] == 2
    assert set(data["targets"]) == {"eager", "onnxruntime"}
    assert read_optimizations(directory)["eager"] == before


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("form", ["dense"]), ("form", "7 moons"), ("seconds", {"dense": "1"}), ("seconds", []), ("name", 4),
        ("params_before", 1.5), ("params_after", -1),
    ],
)  # fmt: skip
def test_a_damaged_layer_is_told_in_a_sentence(tmp_path: Path, key: str, value: object) -> None:
    directory = shutil.copytree(OLD, tmp_path / "old")
    data = json.loads((directory / "optimized.json").read_text())
    data["targets"]["eager"]["layers"][0][key] = value
    (directory / "optimized.json").write_text(json.dumps(data))
    with pytest.raises(DeployError):
        read_optimizations(directory)
