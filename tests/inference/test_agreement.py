"""Outputs may differ by what rounding explains, and by nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import kswap
from kswap.errors import DeployError
from kswap.inference.agreement import difference
from kswap.inference.optimize import optimize_for_inference
from kswap.inference.record import optimization_of


class Body(nn.Sequential):
    """Norms with trained numbers, so that folding them rounds."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        for width in (3, 64, 64, 64):
            self.append(nn.Conv2d(width, 64, 1))
            self.append(nn.BatchNorm2d(64))
            self.append(nn.ReLU())
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_var.uniform_(0.5, 2, generator=generator)
                module.running_mean.normal_(generator=generator)


class WithAutocast(nn.Module):
    """Runs its body in bfloat16 and casts what comes out, as models trained in mixed precision do."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Body()
        self.head = nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            x = self.body(x)
        return self.head(x.float().mean((2, 3)).to(torch.float32))


class IllConditioned(nn.Module):
    """A small difference of large numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Body()

    def forward(self, x: Tensor) -> Tensor:
        found = self.body(x)
        return 1e4 * (found + 1 - found.mean()) - 1e4 * (found.detach() * (1 - 1e-4) + 1 - found.mean())


class Random(nn.Module):
    """Not the same in two calls."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Body()

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) * (1 + 0.01 * torch.randn(1))


@pytest.mark.parametrize("kind", [WithAutocast, IllConditioned])
def test_rounding_is_accepted(kind: type[nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(2)
    x = torch.randn(1, 3, 8, 8)
    converted = kswap.convert(kind(), ch=16, example_input=x, seed=0).model.eval()
    for module in converted.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)
    quick = optimize_for_inference(converted, x, autotune=False)
    assert optimization_of(quick).error > 1e-3, "this case does not test what it says"
    monkeypatch.setattr("kswap.inference.agreement._error_in_float64", lambda *_: 1e-3)
    with pytest.raises(DeployError, match="differs by"):
        optimize_for_inference(converted, x, autotune=False)


def test_randomness_is_refused() -> None:
    x = torch.randn(1, 3, 8, 8)
    with pytest.raises(DeployError, match="no randomness in eval mode"):
        optimize_for_inference(Random().eval(), x, autotune=False)


def test_whole_numbers_and_shapes() -> None:
    one, two = [torch.ones(2), torch.tensor([1, 2])], [torch.ones(2), torch.tensor([1, 3])]
    assert difference(one, two) == 0
    assert difference(one, two[:1]) == float("inf")
    assert not difference([torch.ones(2)], [torch.tensor([1.0, float("nan")])]) <= 1
