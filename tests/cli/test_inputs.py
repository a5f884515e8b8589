"""``--input``: models with several inputs, integers and keyword arguments on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kswap.cli.main import main

SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(50, 64)
        self.mix, self.head = nn.Conv1d(64, 64, 1), nn.Conv1d(64, 5, 3, padding=1)

    def forward(self, input_ids, scale=None):
        x = self.mix(self.words(input_ids).transpose(1, 2)).relu()
        return self.head(x if scale is None else x * scale)

def build():
    return Net()
"""


@pytest.fixture
def model(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(SOURCE)
    return f"{tmp_path / 'net.py'}:build"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("command", ["plan", "convert"])
@pytest.mark.parametrize(
    "inputs",
    [["input_ids=1,7:int64"], ["input_ids=1x7:int64", "scale=1,64,7"], ["1,7:int64", "1,64,1:float32"]],
    ids=["keyword", "keywords", "positional"],
)
def test_inputs_by_name_and_by_position(command: str, inputs: list[str], model: str, tmp_path: Path) -> None:
    options = [part for text in inputs for part in ("--input", text)]
    saved = ["--out", tmp_path / "m", "--device", "cpu"] if command == "convert" else []
    done = run(command, model, "--ch", 8, *options, *saved, "--format", "json")
    assert done.exit_code == 0, done.output
    (site,) = (s for s in json.loads(done.stdout)["sites"] if s["action"] == "replace")
    assert (site["name"], site["macs_before"]) == ("mix", 64 * 64 * 7)


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        (["x=1,a"], "is no input"),
        (["=1,3"], "no Python name"),
        (["class=1,3"], "no Python name"),
        (["x=1,0"], "is no input"),
        (["x=" + "9" * 400], "is no input"),
        (["x=1,3:float8"], "known are float32"),
        (["x=1,3", "x=1,4"], "given twice"),
        (["x=1,3", "1,4"], "name all inputs"),
        (["x=99999,99999"], "more than"),
    ],
)
def test_what_is_no_input_is_refused(inputs: list[str], says: str, model: str) -> None:
    options = [part for text in inputs for part in ("--input", text)]
    done = run("plan", model, *options)
    assert done.exit_code == 2
    assert says in done.output


def test_an_input_and_an_input_size_contradict_each_other(model: str) -> None:
    done = run("plan", model, "--input", "x=1,3", "--input-size", "32")
    assert done.exit_code == 2
    assert "leave one out" in done.output
