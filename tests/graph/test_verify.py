"""Layers that a model calls past its registered modules: kept with the reason, never silently wrong."""

from __future__ import annotations

import copy
import functools
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import kswap
from kswap.errors import PlanError
from kswap.nn import PointwiseBlock


class Net(nn.Module):
    """Two pointwise convolutions, each with a norm and an activation; a subclass says how they are called."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 3, padding=1)
        self.c1, self.bn1, self.act1 = nn.Conv2d(64, 64, 1, bias=False), nn.BatchNorm2d(64), nn.SiLU()
        self.c2, self.bn2, self.act2 = nn.Conv2d(64, 64, 1, bias=False), nn.BatchNorm2d(64), nn.SiLU()
        self.head = nn.Conv2d(64, 5, 3)

    def first(self, x: Tensor) -> Tensor:
        return self.act1(self.bn1(self.c1(x)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.stem(x))
        return self.head(self.act2(self.bn2(self.c2(x))))


class Listed(Net):
    def __init__(self) -> None:
        super().__init__()
        self.layers = [self.c1]

    def first(self, x: Tensor) -> Tensor:
        return self.act1(self.bn1(self.layers[0](x)))


class InDict(Net):
    def __init__(self) -> None:
        super().__init__()
        self.layers = {"a": {"b": (self.c1,)}}

    def first(self, x: Tensor) -> Tensor:
        return self.act1(self.bn1(self.layers["a"]["b"][0](x)))


class Aliased(Net):
    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "alias", self.c1)

    def first(self, x: Tensor) -> Tensor:
        return self.act1(self.bn1(self.alias(x)))


class ListedNorm(Net):
    def __init__(self) -> None:
        super().__init__()
        self.norms = [self.bn1]

    def first(self, x: Tensor) -> Tensor:
        return self.act1(self.norms[0](self.c1(x)))


class Partial(Net):
    def __init__(self) -> None:
        super().__init__()
        self.call = functools.partial(self.c1)

    def first(self, x: Tensor) -> Tensor:
        return self.act1(self.bn1(self.call(x)))


class Both(Net):
    """Listed and called from there, beside a call by its registered name."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [self.c1]

    def first(self, x: Tensor) -> Tensor:
        return self.act1(self.bn1(self.layers[0](x))) + self.c1(x)


X = torch.randn(2, 3, 8, 8)


@pytest.mark.parametrize("kind", [Listed, InDict, Aliased, ListedNorm, Partial, Both])
def test_a_layer_that_is_called_past_the_registered_one_is_kept(kind: type[Net], tmp_path: Path) -> None:
    model = kind().eval()
    conversion = kswap.convert(model, ch=16, input_size=(8, 8), seed=0)
    assert [site.name for site in conversion.plan.replaced] == ["c2"]
    reason = conversion.plan["c1"].reason
    assert "called" in reason or "would still run" in reason or "would not run" in reason
    assert kswap.plan(model, ch=16, input_size=(8, 8)) == conversion.plan
    converted = conversion.model.train()
    converted(X).sum().backward()
    assert all(p.grad is not None for block in blocks(converted) for p in block.parameters())
    again = kswap.load(conversion.save(tmp_path / "m"), model=kind())
    with torch.no_grad():
        assert torch.equal(again.model(X), converted.eval()(X))


class ListedInTraining(Net):
    """Called past its registered name in training mode only."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [self.c1]

    def first(self, x: Tensor) -> Tensor:
        c1 = self.layers[0] if self.training else self.c1
        return self.act1(self.bn1(c1(x)))


def test_a_call_in_training_mode_is_seen_too() -> None:
    conversion = kswap.convert(ListedInTraining(), ch=16, input_size=(8, 8))
    assert [site.name for site in conversion.plan.replaced] == ["c2"]
    assert "in training mode" in conversion.plan["c1"].reason


class Copying(Net):
    """Copies a module of its own in the forward pass, as a teacher for example."""

    def first(self, x: Tensor) -> Tensor:
        teacher = copy.deepcopy(self.bn1)
        x = self.c1(x)
        return self.act1(self.bn1(x)) + teacher(x)


def test_a_forward_pass_that_copies_a_module() -> None:
    conversion = kswap.convert(Copying(), ch=16, input_size=(8, 8))
    with torch.no_grad():
        assert conversion.model.eval()(X).shape == (2, 5, 6, 6)


def blocks(model: nn.Module) -> list[PointwiseBlock]:
    return [module for module in model.modules() if isinstance(module, PointwiseBlock)]


def test_a_list_that_nobody_calls_does_no_harm() -> None:
    class Named(Net):
        def __init__(self) -> None:
            super().__init__()
            self.for_the_optimizer = [self.c1, self.bn1]

    conversion = kswap.convert(Named(), ch=16, input_size=(8, 8))
    assert [site.name for site in conversion.plan.replaced] == ["c1", "c2"]


def test_what_no_scan_sees_is_found_in_the_check_run() -> None:
    class Hidden(Net):
        def first(self, x: Tensor) -> Tensor:
            return self.act1(self.bn1(HELD[0](x)))

    model = Hidden().eval()
    HELD[:] = [model.c1]
    try:
        conversion = kswap.convert(model, ch=16, input_size=(8, 8))
    finally:
        HELD.clear()
    assert conversion.plan["c1"].action == "keep"
    assert [site.name for site in conversion.plan.replaced] == ["c2"]


HELD: list[nn.Module] = []


def test_an_error_says_why_nothing_is_left() -> None:
    class Only(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c1 = nn.Conv2d(64, 64, 1)
            self.layers = [self.c1]
            self.head = nn.Conv2d(64, 5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.layers[0](x))

    with pytest.raises(PlanError, match=r"none of the 1 pointwise convolutions can be replaced; the first: c1,"):
        kswap.convert(Only(), ch=16, input_size=(64, 8, 8))


def test_a_replayed_plan_that_cannot_work_is_refused() -> None:
    plan = kswap.plan(Net(), ch=16, input_size=(8, 8))
    with pytest.raises(PlanError, match=r"'c1' cannot be replaced: .*; keep it in the plan"):
        kswap.convert(Listed(), plan=plan)
    fewer = plan.keep(["c1"])
    assert len(kswap.convert(Listed(), plan=fewer).plan.replaced) == 1


def test_modes_of_single_modules_survive() -> None:
    model = Net().train()
    model.bn1.eval()
    model.stem.eval()
    conversion = kswap.convert(model, ch=16, input_size=(8, 8))
    assert model.training
    assert not model.bn1.training
    converted = conversion.model
    assert converted.training
    assert not converted.stem.training
    assert not converted.c1.k_norm.training
    assert not converted.c1.l_norm.training
    assert converted.c2.k_norm.training
    module = conversion.graph_module
    assert module.training
    assert not module.stem.training


class Collecting(nn.Module):
    """Returns what every ReLU of its body made, which it finds by their class."""

    def __init__(self) -> None:
        super().__init__()
        first = (nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 64, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU())
        self.body = nn.Sequential(*first, nn.Conv2d(64, 64, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU())
        self.head = nn.Conv2d(64, 5, 3)

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for module in self.body:
            x = module(x)
            if isinstance(module, nn.ReLU):
                found.append(x)
        return [*found, self.head(x)]


def test_outputs_that_depend_on_the_class_of_an_activation_place_blocks_linearly(tmp_path: Path) -> None:
    conversion = kswap.convert(Collecting(), ch=16, input_size=(8, 8), seed=0)
    assert len(conversion.model(X)) == 3
    assert {site.placement for site in conversion.plan.replaced} == {"linear"}
    assert all("placed linearly" in site.reason for site in conversion.plan.replaced)
    again = kswap.load(conversion.save(tmp_path / "m"), model=Collecting())
    for left, right in zip(again.model(X), conversion.model.eval()(X), strict=True):
        assert torch.equal(left, right)
    with pytest.raises(PlanError, match=r"the converted model returns .*: it is not converted"):
        kswap.convert(Collecting(), plan=kswap.plan(Collecting(), ch=16, input_size=(8, 8)), input_size=(8, 8))
