"""Norms and activations that other calls read by themselves stay where they are."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import kswap


class Options(nn.Module):
    """Returns what is before the activation, or before the norm, on request."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 3, padding=1)
        self.c1, self.bn1, self.act1 = nn.Conv2d(64, 64, 1, bias=False), nn.BatchNorm2d(64), nn.SiLU()
        self.c2, self.bn2, self.act2 = nn.Conv2d(64, 64, 1, bias=False), nn.BatchNorm2d(64), nn.SiLU()
        self.head = nn.Conv2d(64, 5, 3)

    def forward(self, x: Tensor, pre: bool = False, *, fail: bool = False) -> Tensor:
        if fail:
            raise RuntimeError("this option needs something else")
        y = self.bn1(self.c1(self.stem(x)))
        if pre:
            return y
        return self.head(self.act2(self.bn2(self.c2(self.act1(y)))))


def test_an_option_that_returns_a_norms_output_places_the_block_linearly() -> None:
    model = Options().eval()
    conversion = kswap.convert(model, ch=16, input_size=(8, 8), seed=0)
    first, second = conversion.plan["c1"], conversion.plan["c2"]
    assert first.replaced
    assert (first.site.norm, first.site.activation) == (None, None)
    assert "something else follows it with pre=True" in first.reason
    assert second.absorbs_norm
    assert second.absorbs_activation
    new = conversion.model
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(new(x, pre=True), new.bn1(new.c1(new.stem(x))))
    assert isinstance(new.bn1, nn.BatchNorm2d)
    assert isinstance(new.act1, nn.SiLU)
