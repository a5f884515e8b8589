"""Matched running statistics: outputs keep the original's mean and variance, and nothing changes where inputs agree."""

from __future__ import annotations

import copy

import torch
from torch import nn

from kswap.projection.norms import is_matched, match_norm_
from kswap.projection.walk import Seen


def norm_with_statistics() -> nn.BatchNorm2d:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(6).eval()
    for value in (norm.weight.data, norm.running_var):
        value.uniform_(0.5, 2)
    for value in (norm.bias.data, norm.running_mean):
        value.normal_()
    return norm


def test_outputs_keep_mean_and_variance() -> None:
    original = norm_with_statistics()
    norm = copy.deepcopy(original)
    theirs = torch.randn(4, 6, 5, 5)
    ours = theirs * torch.linspace(0.5, 2, 6).view(1, 6, 1, 1) + torch.linspace(-3, 3, 6).view(1, 6, 1, 1)
    match_norm_(norm, [Seen(a, b) for a, b in zip(ours.split(1), theirs.split(1), strict=True)])
    torch.testing.assert_close(norm(ours), original(theirs), rtol=1e-4, atol=1e-4)


def test_equal_inputs_change_nothing() -> None:
    norm = norm_with_statistics()
    before = copy.deepcopy(norm.state_dict())
    x = torch.randn(8, 6, 3, 3)
    x[:, 2] = 1.0  # a channel without variance
    match_norm_(norm, [Seen(x, x.clone())])
    for name, value in norm.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=1e-6, atol=1e-6)


def test_constant_channels_stay_finite() -> None:
    norm = norm_with_statistics()
    match_norm_(norm, [Seen(torch.zeros(2, 6, 3, 3), torch.randn(2, 6, 3, 3))])
    assert all(torch.isfinite(value).all() for value in norm.state_dict().values())
    assert (norm.running_var >= 0).all()


def test_norms_without_running_statistics_are_not_matched() -> None:
    assert is_matched(nn.BatchNorm2d(3))
    assert not is_matched(nn.LayerNorm(3))
    assert not is_matched(nn.BatchNorm2d(3, track_running_stats=False))
