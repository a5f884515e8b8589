"""Where fused kernels are offered, and what happens where they cannot run."""

from __future__ import annotations

import copy
import importlib.util
from typing import Any

import pytest
import torch
from fused_fixture import block_of, fused
from test_house import MODULES, imported
from torch import nn

from kswap.errors import DeployError, PlanError
from kswap.inference.candidates import Candidates
from kswap.inference.kinds import candidates_of
from kswap.nn import GroupedBlock
from kswap.nn.fused_block import why_no_device, why_no_kernels
from kswap.nn.implementation import Cost, Implementation, ImplementationId
from kswap.planner import plan_layer
from kswap.training.kinds import trainable


@pytest.fixture
def no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


def test_without_triton_a_reader_learns_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "triton" else find(name))
    assert "pip install triton" in str(why_no_kernels())


@pytest.mark.usefixtures("no_device")
def test_without_a_device_nothing_is_offered_and_the_reason_is_said() -> None:
    assert why_no_device() == "there is no CUDA device here"
    block = block_of(14, 10, 4)
    assert block is not None
    found = candidates_of(block)
    names = [str(one.id) for one in found.implementations]
    assert "grouped.triton" not in names
    assert "grouped.bmm" not in names
    for text in ("grouped.triton", "grouped.bmm"):
        with pytest.raises(DeployError, match="cannot run: "):
            found[ImplementationId.parse(text)]
    with pytest.raises(PlanError, match=r"grouped.triton cannot run: "):
        trainable(block).named(ImplementationId.parse("grouped.triton"))


@pytest.mark.parametrize(
    "parts", [{"norm": nn.GroupNorm(1, 10)}, {"activation": nn.PReLU()}, {"activation": nn.GELU("tanh")}]
)
def test_blocks_of_other_parts_have_no_kernel(parts: dict[str, Any]) -> None:
    block = GroupedBlock(plan_layer(14, 10, 4), **parts)
    assert not block.can_fuse
    with pytest.raises(PlanError, match="no fused kernel"):
        block.compute_fused_()
    assert not candidates_of(block.eval()).absent


@pytest.mark.usefixtures("no_device")
def test_on_other_devices_a_fused_block_computes_as_before() -> None:
    block = block_of(14, 10, 4)
    assert block is not None
    x = torch.randn(2, 14, 3, 3, dtype=torch.double)
    quick = fused(block)
    assert torch.equal(quick(x), block(x))
    assert list(quick.state_dict()) == list(block.state_dict())
    assert copy.deepcopy(quick).fused
    assert not block.fused
    torch.testing.assert_close(torch.jit.script(quick.eval())(x), block.eval()(x))


def test_what_is_only_measured_is_never_estimated() -> None:
    def made(method: str, macs: int, **settings: Any) -> Implementation:
        return Implementation(ImplementationId.of("grouped", method), Cost(macs, 0), nn.Identity, **settings)

    untimed = made("triton", 1, targets=frozenset({"cuda"}), only_measured=True)
    found = Candidates((made("dense", 100), made("k", 50), made("sum", 60), untimed), 0, None, "group")
    assert found.estimated("cuda").id.method == "k"
    assert [one.id.method for one in found.shortlist("cuda", 3)] == ["dense", "triton", "k"]
    assert [one.id.method for one in found.shortlist("eager", 3)] == ["dense", "k", "sum"]


def test_triton_is_imported_by_the_kernels_alone_and_those_only_when_they_run() -> None:
    for module, path in MODULES.items():
        inside = module.startswith("kswap.nn.kernels")
        assert inside or not any(name.split(".")[0] == "triton" for name in imported(path)), module
        assert inside or not any(name.startswith("kswap.nn.kernels") for name in imported(path, anywhere=False)), module
