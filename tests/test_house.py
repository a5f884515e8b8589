"""The house: linters, and imports that point down only, wherever in a file they stand."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the lowest floor up. A room may import from rooms on lower floors and from itself, at the top of a file, inside a
# function and for type checking alike.
FLOORS = (
    {"version"},
    {"errors"},
    {"codec", "files"},
    {"timing", "progress", "malloc", "isolation", "packages", "locking", "plots", "trials"},
    {"planner"},
    {"rules", "report"},
    {"native"},
    {"nn"},
    {"zoo"},
    {"graph"},
    {"sources"},
    {"runtimes"},
    {"saved", "data", "model_table"},
    {"planning", "recording", "hub"},
    {"narrowing", "surgery", "projection"},
    {"budgets"},
    {"converted"},
    {"loading"},
    {"budgeting", "traced"},
    {"conversion"},
    {"analysis", "timm"},
    {"inference"},
    {"training"},
    {"benchmarks"},
    {"transfer"},
    {"papers", "quantization"},
    {"keras"},
    {"coverage", "studies", "scans", "checks"},
    {"cli"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# Rooms that must not import torch when they are imported themselves.
WITHOUT_TORCH = {
    "errors",
    "version",
    "codec",
    "files",
    "progress",
    "isolation",
    "malloc",
    "planner",
    "rules",
    "report",
    "cli",
}
# Files and packages of other rooms that the command line reads its choices from.
PARTS_WITHOUT_TORCH = {"kswap.data.resizing", "kswap.runtimes.targets", "kswap.runtimes.formats"}
PARTS_WITHOUT_TORCH |= {"kswap.benchmarks.request"}
HEAVY = ("torch", "timm", "torchvision")
SOURCES = sorted((ROOT / "kswap").rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in SOURCES}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imported(path: Path, anywhere: bool = True) -> Iterator[str]:
    """The modules that a file imports: anywhere in it, or only when it is imported itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if anywhere else tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The groups of nodes that reach each other."""
    reached = {start: reach(graph, start) for start in graph}
    found = {frozenset(b for b in reached[a] if a in reached[b]) for a in graph if a in reached[a]}
    return sorted(sorted(group) for group in found)


def reach(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    front = [start]
    while front:
        fresh = graph[front.pop()] - seen
        seen |= fresh
        front.extend(fresh)
    return seen


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_to_a_lower_floor(module: str) -> None:
    room = room_of(module)
    for name in imported(MODULES[module]):
        if not name.startswith("kswap"):
            continue
        other = room_of(name)
        if room and not other:  # `import kswap` for its version or its examples would reach every floor
            assert room == "cli", f"{module} imports the whole package"
        elif room and other != room:
            assert FLOOR[other] < FLOOR[room], f"{module} imports {name}"


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {module: {name for name in imported(path) if name in MODULES} for module, path in MODULES.items()}
    del graph["kswap"]  # names what it offers, and nothing below it imports it
    graph = {module: names & graph.keys() - {module} for module, names in graph.items()}
    assert circles(graph) == []


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]


def without_torch(module: str) -> bool:
    parts = module.split(".")
    return room_of(module) in WITHOUT_TORCH or not PARTS_WITHOUT_TORCH.isdisjoint({module, ".".join(parts[:3])})


@pytest.mark.parametrize("module", sorted(filter(without_torch, MODULES)))
def test_what_is_imported_for_help_imports_no_torch(module: str) -> None:
    for name in imported(MODULES[module], anywhere=False):
        assert name.split(".")[0] not in HEAVY, name
        assert not name.startswith("kswap.") or without_torch(name), name


def test_every_room_has_a_floor() -> None:
    assert {room_of(module) for module in MODULES} - {""} == set(FLOOR)


def test_no_room_is_called_like_a_public_function() -> None:
    """The submodule would shadow it."""
    import kswap

    assert not set(kswap.__all__) & set(FLOOR)


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
