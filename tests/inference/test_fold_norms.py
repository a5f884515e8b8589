"""Norms of a whole model: folded, or kept for a reason; a folded one says so to whoever asks for its statistics."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import Tensor, nn

from kswap.errors import KswapError
from kswap.inference.fold_norms import FoldedNorm, fold_norms_
from kswap.inference.optimize import optimize_for_inference
from kswap.inference.record import optimization_of


class Kept(nn.Module):
    """One norm for each reason to keep it, and one that is folded."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.ModuleDict({name: nn.Conv2d(8, 8, 1) for name in ("plain", "twice", "read", "branch", "group")})
        self.conv["first"], self.conv["second"] = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.conv["second"].weight = self.conv["first"].weight
        self.norm = nn.ModuleDict({name: nn.BatchNorm2d(8) for name in (*self.conv, "sum", "idle")})
        self.norm["group"] = nn.GroupNorm(2, 8)

    def forward(self, x: Tensor) -> Tensor:
        conv, norm = self.conv, self.norm
        x = norm["plain"](conv["plain"](x))
        x = norm["sum"](norm["second"](conv["second"](norm["first"](conv["first"](x)))) + x)
        x = norm["twice"](conv["twice"](conv["twice"](x)))
        x = norm["read"](conv["read"](x)) * conv["read"].weight.mean()
        branch = conv["branch"](x)
        return norm["group"](conv["group"](norm["branch"](branch) + branch))


def test_every_kept_norm_has_its_reason() -> None:
    model, x = Kept().eval(), torch.randn(1, 8, 4, 4)
    wanted = model(x)
    found = fold_norms_(model, (x,))
    assert found.folded == ("norm.plain",)
    assert found.kept == {
        "norm.twice": "conv.twice is called several times",
        "norm.read": "the parameters of conv.read are read elsewhere",
        "norm.branch": "conv.branch: its output has several users",
        "norm.group": "GroupNorm is no fixed scale and shift in eval mode",
        "norm.first": "conv.first shares its weights",
        "norm.second": "conv.second shares its weights",
        "norm.sum": "no convolution or linear layer that can take it in stands before it",
        "norm.idle": "it was not called on the example input",
    }
    torch.testing.assert_close(model(x), wanted, rtol=1e-5, atol=1e-5)


def test_the_record_has_the_reasons() -> None:
    x = torch.randn(1, 8, 4, 4)
    done = optimization_of(optimize_for_inference(Kept().eval(), x, autotune=False))
    assert done.norms_folded == 1
    assert done.norms_kept["norm.twice"] == "conv.twice is called several times"


def fuse(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """As many models do in a method called ``fuse``."""
    return conv.weight * (norm.weight / torch.sqrt(norm.running_var + norm.eps)).reshape(-1, 1, 1, 1)


def test_fusing_again_is_told_in_a_sentence() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)).eval()
    quick = optimize_for_inference(model, torch.randn(1, 3, 4, 4), autotune=False)
    assert isinstance(quick[1], FoldedNorm)
    with pytest.raises(KswapError, match="fused already"):
        fuse(quick[0], quick[1])
    assert not hasattr(quick[1], "running_mean")
    with pytest.raises(AttributeError, match="colour"):
        _ = quick[1].colour
    again = copy.deepcopy(quick)
    x = torch.randn(1, 3, 4, 4)
    assert torch.equal(again(x), quick(x))


def test_fuse_of_a_model_of_timm_is_told_in_a_sentence() -> None:
    model = timm.create_model("repvit_m1", num_classes=2).eval()
    quick = optimize_for_inference(model, torch.randn(1, 3, 64, 64), autotune=False)
    with pytest.raises(KswapError, match="fused already"):
        timm.utils.reparameterize_model(quick)
