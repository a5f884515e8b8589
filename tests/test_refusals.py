"""What cannot be converted is refused in one sentence that says what to do."""

from __future__ import annotations

import threading
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


class Marked(Net):
    """Reads an attribute of its own that a block does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.c1.gain = 2.0
        self.c2 = nn.Conv2d(64, 64, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.c2(self.c1(self.stem(x)) * self.c1.gain).relu())


class Asserting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(64, 64, 1)

    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(self.c1, nn.Conv2d)
        return self.c1(x)


class WithAsserting(Marked):
    def __init__(self) -> None:
        super().__init__()
        self.c1 = Asserting()
        self.c1.gain = 1.0


@pytest.mark.parametrize(
    ("kind", "site", "says"),
    [(Marked, "c1", "AttributeError: 'GroupedBlock' object has no attribute 'gain'"), (WithAsserting, "c1.c1", "Asse")],
)
def test_a_layer_that_the_forward_pass_asks_about_is_kept(kind: type[Net], site: str, says: str) -> None:
    conversion = convert(kind())
    assert [found.name for found in conversion.plan.replaced] == ["c2"]
    assert f"the forward pass refuses a block in its place ({says}" in conversion.plan[site].reason


def test_a_model_that_holds_a_lock_is_refused_by_the_name_of_the_attribute() -> None:
    model = nn.Sequential(Net())
    model[0].lock = threading.Lock()
    with pytest.raises(kswap.KswapError, match=r"cannot be copied: 0\.lock holds a lock"):
        convert(model)
    with pytest.raises(kswap.KswapError, match=r"cannot be copied: 0\.lock holds a lock"):
        kswap.plan(model, input_size=(12, 12))


def test_inference_mode_makes_no_difference() -> None:
    with torch.inference_mode():
        inside = convert(Net())
    assert inside.plan == convert(Net()).plan
    assert not any(p.is_inference() for p in inside.model.parameters())
    inside.model(torch.randn(1, 3, 12, 12)).sum().backward()


def test_the_wider_layer_that_stays_is_named() -> None:
    model = nn.Sequential(nn.Conv2d(3, 64, 1), nn.Conv2d(64, 64, 1))
    with pytest.raises(kswap.KswapError, match="the wider 1 stays: it makes the model's output"):
        kswap.plan(model, ch=16, input_size=(12, 12))


def test_a_model_in_half_precision_is_called_with_inputs_like_its_weights() -> None:
    assert kswap.plan(Net().half(), input_size=(12, 12)).replaced


def test_a_plan_that_needs_real_numbers_falls_back_to_weights() -> None:
    plan = kswap.plan("torchvision/fasterrcnn_mobilenet_v3_large_320_fpn", ch=16, weights_backbone=None)
    assert len(plan.replaced) > 20


class Fusable(nn.Module):
    """Fuses as Ultralytics does."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 64, 3), nn.Conv2d(64, 64, 1, bias=False)
        self.bn, self.act, self.head = nn.BatchNorm2d(64), nn.SiLU(), nn.Conv2d(64, 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.bn(self.conv(self.stem(x)))))

    def fuse(self) -> Fusable:
        scale = self.bn.weight / torch.sqrt(self.bn.eps + self.bn.running_var)
        self.conv = nn.Conv2d(64, 64, 1).requires_grad_(False)
        self.conv.weight.mul_(scale[:, None, None, None])
        self.bn = nn.Identity()
        return self


def test_fusing_a_converted_model_says_to_fuse_first() -> None:
    conversion = convert(Fusable().eval())
    assert any("has fuse(): call it before convert" in note for note in conversion.report.notes)
    assert not hasattr(conversion.model.bn, "running_mean")
    with pytest.raises(AttributeError, match="'conv' has taken in: fuse or reparameterize a model before"):
        conversion.model.fuse()
    fused = convert(Fusable().eval().fuse())
    assert [site.name for site in fused.plan.replaced] == ["conv"]
