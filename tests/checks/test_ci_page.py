"""The workflow of the page on CI is run, step by step, from the page itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

PAGE = (Path(__file__).parents[2] / ".docs" / "ci.md").read_text(encoding="utf-8")


SMALL = "--ch 4 --input-size 64 --seed 0"


def block(marker: str) -> str:
    found = re.search(rf"<!-- {marker} -->\n```\w+\n(.*?)```", PAGE, flags=re.DOTALL)
    assert found
    return found[1]


JOB: dict[str, Any] = yaml.safe_load(block("workflow"))["jobs"]["size"]


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


class Runner:
    """Runs the steps as GitHub does; pip and gh are stand-ins that write down how they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tools = folder / "tools"
        tools.mkdir()
        program(tools / "kswap", f'exec "{sys.executable}" -c "from kswap.cli.main import run; run()" "$@"')
        for name in ("pip", "gh"):
            program(tools / name, f'echo "$@" >> "{folder}/{name}.log"')
        self.output = folder / "output.txt"
        self.output.touch()
        small = JOB["env"] | {
            "MODEL": "test_efficientnet",
            "OPTIONS": "--ch 4 --num-classes 5 --input-size 64 --seed 0",
        }
        root = str(Path(__file__).parents[2])
        self.environment = os.environ | small | {"GITHUB_OUTPUT": str(self.output), "PYTHONPATH": root}
        self.environment["PATH"] = f"{tools}{os.pathsep}{os.environ['PATH']}"

    def value(self, text: str) -> str:
        """An expression of the workflow."""
        outputs = dict(line.split("=", 1) for line in self.output.read_text().split())
        known = {"github.token": "secret", "github.event.pull_request.html_url": "https://example.org/pull/1"}
        known |= {f"steps.check.outputs.{name}": value for name, value in outputs.items()}
        return re.sub(r"\$\{\{ (.*?) \}\}", lambda match: known[match[1]], text)

    def run(self, step: dict[str, Any]) -> int:
        more = {name: self.value(text) for name, text in step.get("env", {}).items()}
        done = subprocess.run(
            ["bash", "-e", "-c", step["run"]],
            cwd=self.folder,
            env=self.environment | more,
            capture_output=True,
            text=True,
        )
        print(step["name"], done.stdout, done.stderr)
        return done.returncode

    def all(self) -> dict[str, int]:
        return {step["name"]: self.run(step) for step in JOB["steps"] if "run" in step}


def test_the_workflow_converts_compares_comments_and_fails(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(block("budget"))
    runner = Runner(tmp_path)
    (tmp_path / "build").mkdir()
    passed = runner.all()
    assert set(passed.values()) == {0}
    assert list(passed) == [
        "Install",
        "Convert",
        "Compare with the last report",
        "Hold it against the budget",
        "Comment",
        "Fail over the budget",
    ]
    first = (tmp_path / "comment.md").read_text()
    assert first.startswith("### kswap: `test_efficientnet` keeps")
    assert "### kswap check: within budget (1 conversion checked)" in first
    assert "pr comment https://example.org/pull/1 --body-file comment.md" in (tmp_path / "gh.log").read_text()
    assert (tmp_path / "pip.log").read_text() == "install kswap\n"

    # A change that leaves more than the budget allows, beside the last report.
    (tmp_path / ".kswap").mkdir()
    shutil.copy(tmp_path / "build" / "small" / "report.json", tmp_path / ".kswap" / "report.json")
    runner.environment["OPTIONS"] = f"{SMALL} --num-classes 1000"
    runner.output.write_text("")
    failed = runner.all()
    assert {name for name, status in failed.items() if status} == {"Fail over the budget"}
    assert failed["Fail over the budget"] == 1
    comment = (tmp_path / "comment.md").read_text()
    assert comment.startswith("### kswap diff: `test_efficientnet`")
    assert "the originals differ (num_classes 5 and 1000)" in comment
    assert "❌ **over by" in comment
    assert "Most parameters of build/small" in comment


def test_the_command_that_the_page_shows_for_a_wanted_change_is_the_file_that_is_compared() -> None:
    assert "cp build/small/report.json .kswap/report.json" in PAGE
    assert "kswap diff .kswap/report.json build/small" in block("workflow")


@pytest.mark.parametrize("step", [step for step in JOB["steps"] if "uses" in step], ids=lambda step: step["uses"])
def test_actions_are_pinned_to_a_version(step: dict[str, Any]) -> None:
    assert re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"])
