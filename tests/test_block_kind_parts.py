"""Kinds of blocks are plug-ins: every kind has its part in every room, and no other file knows one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from kswap.nn import build_block
from kswap.planner import BlockSettings, plan_block
from kswap.planner.kinds import BLOCK_KINDS
from kswap.planner.kinds.kind import part_of_kind
from kswap.projection.kinds import fit
from kswap.projection.moments import Moments

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
    assert set(shape) == set(BLOCK_KINDS[kind].keys) - {"align"}  # which is there where it was asked for
    assert type(plan).shape_from_json(shape, 96, 40, "the block") == plan
    assert plan.weights < plan.dense_weights


@pytest.mark.parametrize("kind", BLOCK_KINDS)
def test_nothing_is_built_or_fitted_for_a_plan_that_keeps_its_layer(kind: str) -> None:
    plan = plan_block(1, 1, BlockSettings(kind=kind, ch=8))
    assert not plan.replaces
    with pytest.raises(ValueError, match="this plan keeps the convolution: "):
        build_block(plan)
    x = torch.randn(9, 1)
    with pytest.raises(ValueError, match="this plan keeps the convolution: "):
        fit(plan, torch.ones(1, 1), Moments.of(x, x))


@pytest.mark.parametrize("kind", BLOCK_KINDS)
@pytest.mark.parametrize("parts", [{"norm": nn.BatchNorm2d(40)}, {"activation": nn.ReLU()}], ids=["norm", "activation"])
def test_a_kind_takes_in_norms_and_activations_or_refuses_them(kind: str, parts: dict[str, nn.Module]) -> None:
    plan = plan_block(96, 40, BlockSettings(kind=kind, ch=8))
    if plan.absorbs:
        taken = [part for stage in build_block(plan, **parts).stages for part in (stage.norm, stage.activation)]
        assert any(part is not None for part in taken)
    else:
        with pytest.raises(ValueError, match=f"a block of the kind {kind} takes in no norm or activation"):
            build_block(plan, **parts)
