"""The house: linters, and imports that point down only."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the lowest floor up. A room may import from its own floor and from those below it, when it is imported itself;
# imports inside functions are for things that are slow to import and are not looked at.
FLOORS = (
    {"errors", "version", "twins"},
    {"sites", "files"},
    {"planner"},
    {"rules", "counting"},
    {"nn", "report", "sources"},
    {"graph"},
    {"original", "optimizers"},
    {"planning"},
    {"conversion", "saving", "model_table"},
    {"papers", "keras", "learn", "sweep", "deploy"},
    {"cli"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
WITHOUT_TORCH = {"errors", "version", "sites", "files", "planner", "rules", "counting", "report", "cli"}
SOURCES = sorted((ROOT / "kswap").rglob("*.py"))


def imported(path: Path) -> set[str]:
    """What a file imports when it is imported, type checking aside."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return names


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "kswap").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return
    for name in imported(path):
        if name.startswith("kswap."):
            other = name.split(".")[1]
            assert other == room or FLOOR[other] < FLOOR[room] or (FLOOR[other] == FLOOR[room] and other != room), name
        if room in WITHOUT_TORCH:
            assert name.split(".")[0] not in ("torch", "timm", "torchvision"), name


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]],
    ids=lambda command: " ".join(command),
)
def test_linters_are_silent(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_top_level_is_the_agreed_one() -> None:
    tracked = subprocess.run(["git", "ls-tree", "--name-only", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    allowed = {"pyproject.toml", "kswap", "rules", "tests", "notebooks", "README.md", "LICENSE"}
    assert {name for name in tracked.stdout.split() if not name.startswith(".")} <= allowed
