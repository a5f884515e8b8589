"""Every implementation of a grouped block has its outputs, whatever its layout, norm, activation and kind of layer."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kswap.inference.kinds import candidates_of
from kswap.inference.kinds.grouped import SecondLayer
from kswap.inference.matrix import divisors, is_block_diagonal
from kswap.nn import GroupedBlock
from kswap.nn.affine import affine_of
from kswap.nn.affine_norm import scale_and_shift, split_norm
from kswap.nn.implementation import Cost, Implementation, ImplementationId
from kswap.planner import plan_layer

TOLERANCE = 1e-12  # float64 throughout

# As the norm of a block, over so many channels.
NORMS = {
    "none": lambda channels: None,
    "batch": nn.BatchNorm2d,
    "group": lambda channels: nn.GroupNorm(1, channels),
    "instance": nn.InstanceNorm2d,
}
ACTIVATIONS = {"none": lambda channels: None, "silu": lambda channels: nn.SiLU(), "prelu": nn.PReLU}


def settled(module: nn.Module) -> nn.Module:
    """``module`` in eval mode and float64, with numbers of a trained one in its norms."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.running_var, 0.3, 2)
        if isinstance(part, nn.BatchNorm2d | nn.GroupNorm | nn.PReLU):
            for parameter in part.parameters():
                nn.init.normal_(parameter)
    return module.double().eval()


def block_of(inputs: int, outputs: int, ch: int, scheme: str = "v2", **parts: object) -> GroupedBlock | None:
    plan = plan_layer(inputs, outputs, ch, scheme, parts.pop("second_layer", True), parts.pop("sum", True))
    return None if plan.k is None else settled(GroupedBlock(plan, **parts))


def names_of(block: GroupedBlock) -> list[str]:
    return [str(one.id) for one in candidates_of(block).implementations]


def assert_all_agree(block: GroupedBlock, x: torch.Tensor) -> list[str]:
    wanted = block(x)
    for one in candidates_of(block).implementations:
        made = one.build()
        found = made(x)
        assert found.shape == wanted.shape, one.id
        assert (found - wanted).abs().max() <= TOLERANCE * max(1, wanted.abs().max()), one.id
        convolutions = [m for m in made.modules() if isinstance(m, nn.Conv2d)]
        macs = sum(m.weight.numel() for m in convolutions)
        assert macs == one.cost.macs or not convolutions, one.id
    names = names_of(block)
    assert len(set(names)) == len(names)
    assert [str(ImplementationId.parse(name)) for name in names] == names
    return names


@settings(max_examples=60, deadline=None)
@given(
    inputs=st.integers(5, 60),
    outputs=st.integers(2, 60),
    ch=st.integers(2, 16),
    scheme=st.sampled_from(["v1", "v2"]),
    norm=st.sampled_from(sorted(NORMS)),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    bias=st.booleans(),
    stride=st.sampled_from([1, 2]),
    second_layer=st.booleans(),
    sum=st.booleans(),
)
def test_all_implementations_of_all_layouts(
    inputs: int,
    outputs: int,
    ch: int,
    scheme: str,
    norm: str,
    activation: str,
    bias: bool,
    stride: int,
    second_layer: bool,
    sum: bool,
) -> None:
    torch.manual_seed(inputs * 64 + outputs)
    block = block_of(
        inputs,
        outputs,
        ch,
        scheme,
        second_layer=second_layer,
        sum=sum,
        norm=NORMS[norm](outputs),
        activation=ACTIVATIONS[activation](outputs),
        replaces=nn.Conv2d(inputs, outputs, 1, stride=stride, bias=bias),
    )
    if block is not None:
        assert_all_agree(block, torch.randn(2, inputs, 5, 4).double())


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(48, 20), (2, 7, 48)),
        (nn.Conv1d(48, 20, 1), (2, 48, 7)),
        (nn.Conv3d(48, 20, 1, stride=2), (2, 48, 3, 4, 5)),
    ],
    ids=["linear", "conv1d", "conv3d"],
)
@pytest.mark.parametrize("activation", [None, nn.GELU()], ids=["plain", "gelu"])
def test_other_kinds_of_layers(layer: nn.Module, shape: tuple[int, ...], activation: nn.Module | None) -> None:
    block = block_of(48, 20, 4, replaces=layer, activation=activation)
    assert block is not None
    assert_all_agree(block, torch.randn(*shape).double())


def test_weight_standardised_layers_become_plain_ones() -> None:
    from timm.layers import ScaledStdConv2d

    block = block_of(48, 40, 8, replaces=ScaledStdConv2d(48, 40, 1))
    assert block is not None
    assert_all_agree(block, torch.randn(2, 48, 3, 3).double())


def test_a_projection_collapses() -> None:
    block = block_of(96, 24, 16, norm=nn.BatchNorm2d(24))
    assert block is not None
    names = assert_all_agree(block, torch.randn(1, 96, 3, 3).double())
    assert names[0] == "grouped.dense"
    assert "grouped.collapse(groups=6,height=4)" in names
    dense = candidates_of(block).densest.build()
    assert isinstance(dense, nn.Conv2d)
    assert dense.bias is not None


def test_replication_is_spread_by_a_convolution() -> None:
    block = block_of(40, 240, 16, activation=nn.SiLU())
    assert block is not None
    assert block.plan.k is not None
    assert block.plan.k.replicated == 8
    assert "grouped.k(groups=3,spread=1)" in assert_all_agree(block, torch.randn(1, 40, 3, 3).double())


def test_an_activation_between_k_and_l_keeps_both() -> None:
    block = block_of(64, 32, 16, norm=nn.BatchNorm2d(32), activation=nn.ReLU())
    assert block is not None
    assert all(isinstance(one.build(), SecondLayer) for one in candidates_of(block).implementations)
    assert "grouped.sum(k_groups=4,l_groups=1)" in assert_all_agree(block, torch.randn(1, 64, 3, 3).double())


def test_a_filter_of_zeros_keeps_its_place() -> None:
    """Which entries are left out is read off the plan, not off weights that happen to be zero."""
    block = block_of(96, 24, 16, norm=nn.BatchNorm2d(24))
    assert block is not None
    names = names_of(block)
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    assert names_of(block) == names


def test_folding_leaves_the_block_as_it_is() -> None:
    block = block_of(96, 24, 16, norm=nn.BatchNorm2d(24), activation=nn.ReLU(inplace=True))
    assert block is not None
    before = copy.deepcopy(block.state_dict())
    for one in candidates_of(block).implementations:
        one.build()
    assert all(torch.equal(before[key], value) for key, value in block.state_dict().items())


def test_the_shortlist_begins_with_the_dense_one() -> None:
    block = block_of(1152, 320, 16, norm=nn.BatchNorm2d(320))
    assert block is not None
    candidates = candidates_of(block)
    few = candidates.shortlist("eager", 4)
    assert len(few) == 4
    assert few[0].id.is_dense
    assert candidates.estimated("eager").cost.macs < candidates.densest.cost.macs / 2


def test_the_estimate_stays_dense_where_little_is_saved() -> None:
    block = block_of(24, 144, 16, norm=nn.BatchNorm2d(144), activation=nn.SiLU())
    assert block is not None
    assert candidates_of(block).estimated("eager").id.is_dense


@given(st.integers(2, 40), st.integers(1, 6), st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_block_diagonals_are_seen(groups: int, rows: int, columns: int) -> None:
    reads = torch.block_diag(*[torch.ones(rows, columns)] * groups) > 0
    assert is_block_diagonal(reads, groups)
    assert all(is_block_diagonal(reads, d) for d in divisors(groups))
    reads[0, -1] = True
    assert not is_block_diagonal(reads, groups)


def test_norms_are_split_into_what_is_fixed_and_the_rest() -> None:
    from timm.layers import BatchNormAct2d

    norm = settled(BatchNormAct2d(6))
    core, rest = split_norm(norm)
    assert isinstance(rest, nn.ReLU)
    assert core is not None
    scale, shift = scale_and_shift(core, 6)
    x = torch.randn(2, 6, 3, 3).double()
    torch.testing.assert_close(rest(x * scale[:, None, None] + shift[:, None, None]), norm(x))
    assert isinstance(norm.act, nn.ReLU)


@pytest.mark.parametrize("norm", [nn.GroupNorm(2, 6), nn.BatchNorm2d(6, track_running_stats=False)], ids=repr)
def test_other_norms_are_all_rest(norm: nn.Module) -> None:
    assert split_norm(norm) == (None, norm)


def test_the_matrix_of_a_layer() -> None:
    layer = nn.Conv2d(5, 3, 1).double()
    affine = affine_of(layer, 5)
    torch.testing.assert_close(affine.weight, layer.weight[:, :, 0, 0].detach())
    torch.testing.assert_close(affine.bias, layer.bias.detach())


def test_what_is_built_shares_no_module_with_the_block_or_another_copy() -> None:
    block = block_of(64, 32, 16, norm=nn.GroupNorm(1, 32), activation=nn.PReLU(32))
    assert block is not None
    for one in candidates_of(block).implementations:
        first, second = one.build(), one.build()
        own = [{id(tensor) for tensor in (*m.parameters(), *m.modules())} for m in (block, first, second)]
        assert not own[0] & own[1] and not own[0] & own[2] and not own[1] & own[2]  # noqa: PT018


def test_a_target_that_cannot_run_an_implementation_is_not_offered_it() -> None:
    block = block_of(96, 24, 16)
    assert block is not None
    found = candidates_of(block)
    fused = Implementation(ImplementationId.of("grouped", "fused"), Cost(0, 0), nn.Identity, frozenset({"cuda"}))
    found = dataclasses.replace(found, implementations=(*found.implementations, fused))
    assert found.estimated("cuda") is fused
    assert fused in found.shortlist("cuda", 2)
    assert fused not in found.for_target("eager")
