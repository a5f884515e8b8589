"""Blocks with norm and activation inside start as the best K does, with a second branch that learns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from kswap.errors import PlanError
from kswap.nn import build_block
from kswap.planner import BlockSettings, plan_block
from kswap.projection.absorbed import resting_input
from kswap.projection.kinds import fit, fit_absorbed, write_absorbed_
from kswap.projection.moments import Moments


def calibration(channels: int = 24) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(channels, channels, generator=generator)
    return (torch.randn(64, channels, generator=generator) @ mixing + 1).reshape(4, 16, channels).mT.unsqueeze(-1)


def trained_norm(channels: int) -> nn.BatchNorm2d:
    torch.manual_seed(1)
    norm = nn.BatchNorm2d(channels).eval()
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        assert tensor is not None
        tensor.uniform_(0.5, 2)
    return norm


def rows(x: Tensor) -> Tensor:
    return x.transpose(0, 1).flatten(1).T


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("filters", "settings"),
    [(16, BlockSettings(ch=4)), (24, BlockSettings(ch=4, scheme="v1")), (48, BlockSettings(ch=4, scheme="v1"))],
)
@torch.no_grad()
def test_the_norm_returns_the_mean_and_variance_of_the_original(
    filters: int, settings: BlockSettings, bias: bool
) -> None:
    old, norm, x = nn.Conv2d(24, filters, 1, bias=bias), trained_norm(filters), calibration()
    outputs = old(x)
    moments = Moments.of(rows(x), rows(outputs))
    plan = plan_block(24, filters, settings)
    block = build_block(plan, norm=norm, replaces=old).eval()
    write_absorbed_(block, fit_absorbed(plan, old.weight.flatten(1), moments), moments)
    seen: list[Tensor] = []
    assert block.k_norm is not None
    block.k_norm.register_forward_hook(lambda _module, _args, out: seen.append(rows(out)))
    ours, theirs = rows(block(x)), rows(norm(outputs))
    # The norm of K alone; a block without L may interleave its channels afterwards.
    first = seen[0] if block.l is not None or block.interleave is None else seen[0][:, block.interleave.order]
    torch.testing.assert_close(first.mean(0), theirs.mean(0), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(first.std(0), theirs.std(0), rtol=1e-3, atol=1e-3)
    assert (ours - first).abs().mean() < 0.05 * first.abs().mean()


@torch.no_grad()
def test_a_layer_that_k_can_hold_is_returned_through_norm_and_activation() -> None:
    """Scheme v1 interleaves the outputs of K: its norm follows."""
    plan, x = plan_block(24, 48, BlockSettings(ch=4, scheme="v1")), calibration()
    norm, old = trained_norm(48), build_block(plan)
    outputs = old(x)
    moments = Moments.of(rows(x), rows(outputs))
    fitted = fit_absorbed(plan, torch.zeros(48, 24), moments)
    weight = fit(plan, fitted.matrix, moments).matrix
    block = build_block(plan, norm=norm, activation=nn.SiLU()).eval()
    write_absorbed_(block, fit_absorbed(plan, weight, moments), moments)
    torch.testing.assert_close(block(x), nn.functional.silu(norm(outputs)), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("activation", [None, nn.ReLU(), nn.SiLU(), nn.Sigmoid(), nn.Hardsigmoid()])
@pytest.mark.parametrize("norm", [None, nn.BatchNorm2d(16), nn.GroupNorm(4, 16), nn.BatchNorm2d(16, affine=False)])
def test_the_second_branch_starts_small_and_learns(norm: nn.Module | None, activation: nn.Module | None) -> None:
    old, x = nn.Conv2d(24, 16, 1), calibration()
    outputs = old(x)
    moments = Moments.of(rows(x), rows(outputs))
    plan = plan_block(24, 16, BlockSettings(ch=4))
    block = build_block(plan, norm=norm, activation=activation, replaces=old).train()
    write_absorbed_(block, fit_absorbed(plan, old.weight.flatten(1), moments), moments)
    seen: list[Tensor] = []
    last = block.l_act or block.l_norm or block.l
    assert isinstance(last, nn.Module)
    last.register_forward_hook(lambda _module, _args, out: seen.append(out))
    total = block(x)
    first = (total - seen[0]).detach()
    if not isinstance(norm, nn.BatchNorm2d) or norm.affine:  # a norm without a scale decides the size of its output
        assert seen[0].detach().abs().mean() < 0.15 * first.abs().mean()
    total.square().sum().backward()
    gradients = [parameter.grad for name, parameter in block.named_parameters() if name.startswith("l.")]
    assert gradients
    assert all(gradient is not None and gradient.any() for gradient in gradients)


def test_without_the_sum_a_block_with_norms_inside_is_refused() -> None:
    plan = plan_block(24, 16, BlockSettings(ch=4, sum=False))
    x = rows(calibration())
    with pytest.raises(PlanError, match="place it linearly"):
        fit_absorbed(plan, torch.ones(16, 24), Moments.of(x, x[:, :16]))


def test_channels_rest_where_an_activation_returns_nothing() -> None:
    assert resting_input(None) == resting_input(nn.ReLU()) == resting_input(nn.Hardswish()) == 0
    assert resting_input(nn.PReLU(8), channels=8) == 0
    assert resting_input(nn.Sigmoid()) == -4
    assert resting_input(nn.Softplus(), nn.BatchNorm2d(1)) == -4
