"""What comes out of files and arguments never reaches a terminal raw."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from kswap.cli.main import main
from kswap.errors import excerpt, message_line, visible
from kswap.report.renderers import formats_of

ESCAPE = "\x1b]0;owned\x07\x9b31m\u202e"


@given(st.text())
def test_visible_text_is_printable_and_ordinary_text_is_unchanged(text: str) -> None:
    assert visible(text).isprintable()
    assert len(excerpt(text)) <= 80
    assert excerpt(text).isprintable()
    assert message_line(text).isprintable()
    if text.isprintable():
        assert visible(text) == text


def test_long_text_is_cut() -> None:
    assert excerpt("x" * 100_000) == "x" * 77 + "..."
    assert len(message_line("x" * 100_000)) == 1000


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan", f"resnet{ESCAPE}"],
        ["plan", "resnet18", "--rules", f"./{ESCAPE}.toml"],
        ["plan", "resnet18", "--fail-if", ESCAPE],
        ["report", f"nowhere{ESCAPE}"],
        ["models", ESCAPE],
        ["papers", ESCAPE],
        [f"conv{ESCAPE}"],
        ["layer", ESCAPE, "3"],
        ["plan", "resnet18", "--scheme", ESCAPE],
    ],
    ids=lambda arguments: arguments[0],
)
def test_error_lines_hold_no_escapes(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments, prog_name="kswap")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.removesuffix("\n").isprintable()
    assert "owned" in result.stderr


def test_an_error_repeats_little_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text(json.dumps({"kswap": "x", "params": {"before": "9" * 100_000, "after": 1}}))
    result = CliRunner().invoke(main, ["report", str(file)], prog_name="kswap")
    assert result.exit_code == 2
    assert len(result.stderr) < 500


@pytest.mark.parametrize("command", ["report", "diff"])
@pytest.mark.parametrize("format_", formats_of("report"))
def test_names_out_of_a_file_reach_standard_output_as_escapes(tmp_path: Path, command: str, format_: str) -> None:
    saved = Path(__file__).parents[1] / "data" / "saved_by_0_1_0" / "test_efficientnet" / "report.json"
    data = json.loads(saved.read_text())
    data |= {"model": ESCAPE, "rules": ESCAPE, "kswap": ESCAPE, "notes": [ESCAPE]}
    for number, site in enumerate(data["sites"]):
        site |= {"name": f"{ESCAPE}{number}", "reason": ESCAPE, "norm": ESCAPE, "activation": ESCAPE, "type": ESCAPE}
    file = tmp_path / "report.json"
    file.write_text(json.dumps(data))
    directories = [str(file)] if command == "report" else [str(saved), str(file)]
    result = CliRunner().invoke(main, [command, *directories, "--format", format_], prog_name="kswap")
    assert result.exit_code == 0, result.output
    assert "owned" in result.stdout
    assert result.stdout.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("command", "value"),
    [("report", "report"), ("diff", "diff"), ("plan", "report"), ("papers", "papers"), ("models", "models")],
)
def test_a_command_offers_the_formats_of_its_value(command: str, value: str) -> None:
    found = main.get_command(click.Context(main), command)
    assert found is not None
    option = next(parameter for parameter in found.params if parameter.name == "format_")
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == formats_of(value)
