"""The README and the pages are run: their Python examples, and their commands with the output that they show."""

from __future__ import annotations

import doctest
import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from kswap.cli.main import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / ".docs").glob("*.md"))]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def plain(text: str) -> str:
    return " ".join(text.split())


def commands(page: Path) -> list[tuple[str, list[str]]]:
    """Every command of a console block, with the lines that the page shows below it."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line.removeprefix("$ "), []))
            elif line.strip() not in ("", "..."):
                found[-1][1].append(line)
    return found


@pages
def test_python_examples(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parser = doctest.DocTestParser()
    test = parser.get_doctest(page.read_text(encoding="utf-8"), {}, page.name, None, 0)
    assert test.examples or page.name != "README.md"
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(test)
    assert runner.failures == 0


@pages
def test_console_examples(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    assert commands(page) or page.name != "README.md"
    for command, lines in commands(page):
        program, *arguments = shlex.split(command)
        assert program == "kswap"
        result = CliRunner().invoke(main, arguments, prog_name="kswap")
        assert result.exit_code == 0, result.output
        shown = {plain(line) for line in result.output.splitlines()}
        assert [line for line in lines if plain(line) not in shown] == [], command


@pages
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_every_page_is_listed() -> None:
    for page in PAGES[1:]:
        assert f"(.docs/{page.name})" in README


def test_named_files_exist() -> None:
    for name in re.findall(r"^\| (`.*?`) \|", README, flags=re.MULTILINE):
        for path in re.findall(r"`([\w/.]+)`", name):
            assert (ROOT / path).exists(), path


def test_the_first_command_prints_what_the_table_says() -> None:
    table = re.search(
        r"^\| efficientnet_b0 \| ([\d,]+) \|.*\*\*([\d,]+)\*\* \| ([\d.]+%) \|$", README, flags=re.MULTILINE
    )
    command = re.search(r"&& kswap (convert .*)$", README, flags=re.MULTILINE)
    assert table
    assert command
    plain = CliRunner().invoke(main, [*shlex.split(command[1]), "--dry-run"], prog_name="kswap").stdout
    totals = next(line for line in plain.splitlines() if line.startswith("parameters"))
    assert totals.split()[1:4] == list(table.groups())


def test_the_share_of_1000_classes_is_as_stated() -> None:
    report = json.loads(CliRunner().invoke(main, ["plan", "efficientnet_b0", "--format", "json"]).stdout)
    assert f"so {report['params']['ratio']:.1%} are left" in " ".join(README.split())
    assert "1,281,000" in README
