"""The layers that replace a convolution: shapes, initialisation, one linear map, gradients."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kswap.nn import GroupedBlock, GroupedPointwise, Interleave
from kswap.nn.init import reset_norm_
from kswap.planner import GroupedLayout, interleave_order, plan_layer


@settings(deadline=None, max_examples=60)
@given(
    ic=st.integers(2, 90), f=st.integers(1, 90), ch=st.integers(1, 24), scheme=st.sampled_from(["v1", "v2"]),
    bias=st.booleans(),
)  # fmt: skip
def test_block_against_dense_matrices(ic: int, f: int, ch: int, scheme: str, bias: bool) -> None:
    """Without norm and activation the block is the affine map K + L P K that the plan describes."""
    plan = plan_layer(ic, f, ch, scheme)
    if plan.k is None:
        return
    block = GroupedBlock(plan, replaces=nn.Conv2d(ic, f, 1, bias=bias)).double()
    x = torch.randn(2, ic, 3, 2, dtype=torch.double)

    def dense(layer: GroupedPointwise, layout: GroupedLayout) -> tuple[torch.Tensor, torch.Tensor]:
        weight = torch.zeros(layout.out_channels, layout.in_channels, dtype=torch.double)
        offset = torch.zeros(layout.out_channels, dtype=torch.double)
        row, order = 0, layout.read_order()
        per_group = (layout.filters_per_group, 1)
        for conv, filters in zip(layer.convolutions, per_group, strict=False):
            for index in range(conv.out_channels):
                group = index // filters
                for position in range(layout.group_width):
                    weight[row, order[group * layout.group_width + position]] += conv.weight[index, position, 0, 0]
                if conv.bias is not None:
                    offset[row] = conv.bias[index]
                row += 1
        return weight, offset

    k_weight, k_bias = dense(block.k, plan.k)
    k = torch.einsum("oi,nihw->nohw", k_weight, x) + k_bias[:, None, None]
    mixed = k[:, interleave_order(f, plan.interleave_step)] if plan.interleave_step else k
    expected = mixed
    if plan.l is not None:
        assert block.l is not None
        l_weight, l_bias = dense(block.l, plan.l)
        expected = k + torch.einsum("oi,nihw->nohw", l_weight, mixed) + l_bias[:, None, None]
    torch.testing.assert_close(block(x), expected, rtol=1e-10, atol=1e-10)
    assert sum(conv.weight.numel() for layer in block.grouped_layers for conv in layer.convolutions) == plan.weights


def test_norm_and_activation_stand_in_both_layers() -> None:
    block = GroupedBlock(plan_layer(64, 48, 16), nn.BatchNorm2d(48), nn.SiLU(inplace=True)).eval()
    assert block.k_norm is not block.l_norm
    x = torch.randn(1, 64, 4, 4)
    k = torch.nn.functional.silu(block.k_norm(block.k(x)))
    expected = k + torch.nn.functional.silu(block.l_norm(block.l(block.interleave(k))))
    assert torch.equal(block(x), expected)


def test_stride_is_that_of_the_convolution() -> None:
    block = GroupedBlock(plan_layer(64, 48, 16), replaces=nn.Conv2d(64, 48, 1, stride=2))
    assert block(torch.zeros(1, 64, 9, 8)).shape == (1, 48, 5, 4)


def test_a_frozen_convolution_gives_a_frozen_block() -> None:
    conv = nn.Conv2d(64, 48, 1)
    conv.weight.requires_grad_(False)
    block = GroupedBlock(plan_layer(64, 48, 16), replaces=conv)
    assert not any(p.requires_grad for p in block.parameters())


def test_glorot_limits_are_those_of_keras() -> None:
    """Fan-in is the inputs per group, fan-out all filters of the convolution."""
    torch.manual_seed(0)
    block = GroupedBlock(plan_layer(1152, 320, 16), nn.BatchNorm2d(320), replaces=nn.Conv2d(1152, 320, 1))
    block.reset_parameters()
    for layer in block.grouped_layers:
        for conv in layer.convolutions:
            limit = math.sqrt(6 / (16 + conv.out_channels))
            largest = conv.weight.abs().max().item()
            assert 0.97 * limit < largest <= limit
            assert conv.bias is not None
            assert not conv.bias.any()


def test_norms_start_as_constructed() -> None:
    norm = nn.BatchNorm2d(48)
    nn.init.uniform_(norm.weight)
    norm.running_mean.fill_(3.0)
    block = GroupedBlock(plan_layer(64, 48, 16), norm)
    block.reset_parameters()
    for copy in (block.k_norm, block.l_norm):
        assert bool((copy.weight == 1).all())
        assert not copy.running_mean.any()
    assert bool((norm.running_mean == 3).all())


def test_a_zero_scale_stays_zero() -> None:
    norm = nn.BatchNorm2d(8)
    nn.init.zeros_(norm.weight)
    norm.running_var.fill_(7.0)
    reset_norm_(norm)
    assert not norm.weight.any()
    assert bool((norm.running_var == 1).all())


def test_interleave_is_undone_by_its_inverse() -> None:
    x = torch.randn(2, 97, 2, 2)
    order = torch.tensor(interleave_order(97, 6))
    assert torch.equal(Interleave(97, 6)(x)[:, order.argsort()], x)


def test_every_weight_gets_a_gradient() -> None:
    block = GroupedBlock(plan_layer(53, 37, 8), nn.BatchNorm2d(37), nn.SiLU())
    block(torch.randn(4, 53, 3, 3)).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in block.parameters())


def test_a_kept_plan_makes_no_block() -> None:
    with pytest.raises(ValueError, match="24 input channels"):
        GroupedBlock(plan_layer(24, 16, 16))
