"""Kinds of blocks are plug-ins: every kind has its part in every room, and no other file knows one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kswap.planner import BlockSettings, plan_block
from kswap.planner.kinds import BLOCK_KINDS
from kswap.planner.kinds.kind import part_of_kind

PACKAGE = Path(__file__).parents[1] / "kswap"
PARTS = {
    "nn": "BLOCK",
    "inference": "candidates",
    "training": "trainable",
    "report": "EXPLANATION",
    "projection": "fit",
}


@pytest.mark.parametrize("kind", BLOCK_KINDS)
@pytest.mark.parametrize("room", PARTS)
def test_every_kind_has_its_part_in_every_room(room: str, kind: str) -> None:
    assert hasattr(part_of_kind(f"kswap.{room}.kinds", kind), PARTS[room])


@pytest.mark.parametrize("room", ["planner", *PARTS])
def test_no_part_is_left_over(room: str) -> None:
    files = {path.stem for path in (PACKAGE / room / "kinds").glob("*.py")}
    shared = {"__init__", "kind", "explanation"}
    assert files - shared == {kind.replace("-", "_") for kind in BLOCK_KINDS}


def test_low_rank_is_known_to_its_own_files_only() -> None:
    """Beside its files: the registry, what ``kswap.nn`` offers, and the rank that callers and rules may give."""
    named = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if path.stem != "low_rank" and re.search(r"low_rank|LowRank", path.read_text(encoding="utf-8"))
    }
    assert named <= {"planner/kinds/__init__.py", "planner/kinds/kind.py", "nn/__init__.py"}


def test_assigned_is_known_to_its_own_files_only() -> None:
    """Beside its files: the registry, and what ``kswap.nn`` offers."""
    named = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if path.stem != "assigned" and re.search(r"kinds.assigned|AssignedBlock|AssignedPlan", path.read_text("utf-8"))
    }
    assert named <= {"planner/kinds/__init__.py", "nn/__init__.py"}


@pytest.mark.parametrize("kind", BLOCK_KINDS)
def test_a_plan_of_every_kind_survives_json(kind: str) -> None:
    plan = plan_block(96, 40, BlockSettings(kind=kind, ch=8))
    assert plan.replaces
    shape = plan.shape_to_json()
    assert set(shape) == set(BLOCK_KINDS[kind].keys)
    assert type(plan).shape_from_json(shape, 96, 40, "the block") == plan
    assert plan.weights < plan.dense_weights
