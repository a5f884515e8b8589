"""``--top`` and ``--quiet``."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kswap.cli.main import main

PLAN = ("plan", "test_resnet", "--ch", "8")


def asked(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_quiet_is_one_line(tmp_path: Path) -> None:
    out = str(tmp_path / "small")
    made = asked("convert", *PLAN[1:], "--quiet", "--out", out, "--seed", "0")
    assert (made.exit_code, made.stderr) == (0, "")
    (line,) = made.stdout.splitlines()
    assert line.startswith("test_resnet: ")
    assert line.endswith(" kept, drop-in")
    assert asked("report", out, "--quiet").stdout == made.stdout
    assert asked(*PLAN, "--quiet").stdout == made.stdout
    (same,) = asked("diff", out, out, "--quiet").stdout.splitlines()
    assert "), no differences (" in same
    failed = asked(*PLAN, "--quiet", "--fail-if", "params.ratio > 0")
    assert (failed.exit_code, failed.stdout) == (1, made.stdout)
    assert asked(*PLAN, "--top", "1").stdout.count("conv") < asked(*PLAN).stdout.count("conv")


@pytest.mark.parametrize("given", [("--top", "3"), ("--quiet",)])
def test_other_formats_are_always_whole(given: tuple[str, ...]) -> None:
    refused = asked(*PLAN, *given, "--format", "json")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert f"{given[0]} shortens what a terminal shows, and json is always whole" in refused.stderr


def test_one_line_has_no_sites() -> None:
    assert asked("create", "kmobilenet", "--quiet", "--top", "3").exit_code == 2
