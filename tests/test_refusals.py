"""What cannot be converted is refused in one sentence that says what to do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import kswap


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.c1, self.head = nn.Conv2d(3, 64, 3), nn.Conv2d(64, 64, 1), nn.Conv2d(64, 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.c1(self.stem(x)).relu())


def convert(model: nn.Module, **options: object) -> kswap.Conversion:
    return kswap.convert(model, ch=16, input_size=(12, 12), seed=0, **options)


def lazy() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 64, 3), nn.LazyConv2d(64, 1), nn.ReLU(), nn.Conv2d(64, 5, 3))


def scripted() -> nn.Module:
    with pytest.warns(FutureWarning):
        return nn.Sequential(Net(), torch.jit.script(nn.ReLU()))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lazy, "'1' is a LazyConv2d without weights: run the model once"),
        (scripted, "'1' is TorchScript, which cannot be followed: put the nn.Module there"),
        (lambda: convert(Net()).model, r"converted already \('c1' is a GroupedBlock\): convert the original"),
    ],
    ids=["lazy", "scripted", "converted"],
)
def test_models_that_cannot_be_converted(make: Callable[[], nn.Module], says: str) -> None:
    model = make()
    for refuse in (lambda: convert(model), lambda: kswap.plan(model, input_size=(12, 12))):
        with pytest.raises(kswap.KswapError, match=says):
            refuse()


def test_the_meta_device_is_no_target() -> None:
    with pytest.raises(kswap.KswapError, match="on the meta device has no weights: use --dry-run"):
        convert(Net(), device=torch.device("meta"))


def test_complex_weights_are_kept_with_the_reason() -> None:
    class Complex(Net):
        def __init__(self) -> None:
            super().__init__()
            self.c2 = nn.Conv2d(64, 64, 1, dtype=torch.complex64)

        def forward(self, x: Tensor) -> Tensor:
            x = self.c2(self.stem(x).to(torch.complex64)).real
            return self.head(self.c1(x).relu())

    plan = kswap.plan(Complex(), input_size=(12, 12))
    assert [site.name for site in plan.replaced] == ["c1"]
    assert plan["c2"].reason == "its weight is complex (complex64): blocks are real"
