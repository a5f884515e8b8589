"""Hidden channels of a trained network: which stay, and the weights that make up for the others."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import pytest
import timm
import torch
from torch import Tensor, nn

import kswap
from kswap.projection.channels import choose_channels, eliminate, part_of, refit
from kswap.projection.moments import Moments

SIZE = (32, 32)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def problem(channels: int = 24, outputs: int = 6) -> tuple[Tensor, Moments]:
    """Correlated inputs and outputs of a projection."""
    x = (draw(500, channels) @ draw(channels, channels, seed=1)).double()
    weight = draw(outputs, channels, seed=2).double()
    return weight, Moments.of(x, x @ weight.T)


def test_each_step_takes_out_what_costs_least() -> None:
    """Compared with solving for every candidate anew."""
    weight, moments = problem(10)

    def cost(channels: list[int]) -> float:
        keep = torch.tensor(channels)
        left = part_of(moments, keep)
        return left.error(refit(weight[:, keep], left))

    found = eliminate(weight, moments)
    left = list(range(10))
    for gone in found.order[:-1].tolist():
        costs = {channel: cost([other for other in left if other != channel]) for channel in left}
        assert costs[gone] <= min(costs.values()) + 1e-3  # the ridge shifts what is nearly equal
        left.remove(gone)
        assert abs(found.error(len(left)) - costs[gone]) < 0.02
    assert found.error(10) == 0
    assert bool((found.errors.diff() >= 0).all())


def test_better_than_the_largest_and_the_first() -> None:
    weight, moments = problem()
    keep, matrix, error = choose_channels(weight, moments, 12)
    assert len(keep) == 12
    assert bool((keep.diff() > 0).all())
    assert moments.error(torch.zeros_like(weight).index_copy(1, keep, matrix)) == pytest.approx(error)
    largest = weight.norm(dim=0).topk(12).indices
    for other in (torch.arange(12), largest):
        left = part_of(moments, other)
        assert error < left.error(refit(weight[:, other], left))
        assert left.error(refit(weight[:, other], left)) < left.error(weight[:, other])


class Expanded(nn.Module):
    """A stem, an expansion of 32 channels of which the second half repeats the first, a gate, and a projection."""

    def __init__(self, gate: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, bias=False)
        self.expand = nn.Conv2d(8, 32, 1, bias=False)
        self.norm = nn.BatchNorm2d(32)
        self.depthwise = nn.Conv2d(32, 32, 3, groups=32)
        self.squeeze = nn.Conv2d(32, 4, 1)
        self.excite = nn.Conv2d(4, 32, 1)
        self.project = nn.Conv2d(32, 40, 1, bias=False)
        self.last = nn.BatchNorm2d(40)
        self.head = nn.Conv2d(40, 5, 3)
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(torch.relu(self.norm(self.expand(self.stem(x)))))
        if self.gate:
            x = x * torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        y: Tensor = self.head(self.last(self.project(x)))
        return y


@torch.no_grad()
def redundant(gate: bool) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Expanded(gate).eval()
    model.norm.running_mean.copy_(draw(32))
    model.norm.running_var.copy_(draw(32).abs() + 0.5)
    for layer in (model.expand, model.norm, model.depthwise, model.excite):
        for tensor in layer.state_dict().values():
            if tensor.ndim:
                tensor[16:] = tensor[:16]
    return model


def converted(model: nn.Module, **arguments: object) -> kswap.Conversion:
    batches = [draw(16, 3, *SIZE, seed=seed) for seed in range(4)]
    settings: dict[str, object] = {"init": "project", "calibration": batches, "seed": 0, "progress": False}
    return kswap.convert(model, input_size=SIZE, **(settings | arguments))  # type: ignore[arg-type]


@torch.no_grad()
def distance(left: nn.Module, right: nn.Module) -> float:
    """Of outputs on other samples, relative to their variance."""
    x = draw(32, 3, *SIZE, seed=9)
    wanted = left.eval()(x)
    return float(((right.eval()(x) - wanted) ** 2).mean() / wanted.var())


@pytest.mark.parametrize("gate", [False, True])
def test_channels_that_others_repeat_leave_without_loss(gate: bool) -> None:
    model = redundant(gate)
    done = converted(model, ch=64, narrow={"expand": 16})
    assert not done.plan.replaced
    assert done.model.depthwise.groups == 16
    assert distance(model, done.model) < (0.01 if gate else 1e-4)
    fresh = converted(model, ch=64, narrow={"expand": 16}, init="fresh", calibration=None)
    assert distance(model, fresh.model) > 0.1


@torch.no_grad()
def correlated(gate: bool) -> nn.Module:
    """As a trained network: its channels overlap, and some are small."""
    model = redundant(gate)
    mix = torch.eye(32) + draw(32, 32, seed=3) / 10
    model.expand.weight.copy_((mix @ model.expand.weight.flatten(1)).reshape(model.expand.weight.shape))
    model.depthwise.weight.mul_(torch.linspace(0.1, 1, 32)[draw(32).argsort()].reshape(-1, 1, 1, 1))
    return model


@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("ch", [4, 1024])
def test_nearer_to_the_original_than_the_first_channels(ch: int, gate: bool) -> None:
    """The expansion and the projection are replaced by blocks at the narrower width, or stay and are fitted again."""
    model = correlated(gate)
    rules = {"rule": [{"match": {"name": name}, "keep": True} for name in ("squeeze", "excite")]}
    done = converted(model, ch=ch, narrow={"expand": 16}, rules=rules)
    assert bool(done.plan.replaced) == (ch == 4)
    first = kswap.convert(model, ch=1024, narrow={"expand": 16}, input_size=SIZE).model
    fitted = converted(first, ch=ch, rules=rules).model if ch == 4 else first
    assert distance(model, done.model) < 0.8 * distance(model, fitted)
    assert done.report.params.after == sum(p.numel() for p in done.model.parameters())


def test_a_network_of_timm_is_narrowed_and_projected() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model("test_efficientnet", num_classes=5).eval()
    done = converted(model, ch=8, narrow=0.5)
    assert len(done.plan.narrowings) == 4
    assert done.report.projection is not None
    assert {site.name for site in done.report.projection.sites} == {site.name for site in done.plan.replaced}
    assert all(torch.isfinite(tensor).all() for tensor in done.model.state_dict().values())


def test_a_layer_between_two_narrowings_loses_inputs_and_outputs() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 8, 3), nn.Conv2d(8, 32, 1), nn.ReLU(), nn.Conv2d(32, 32, 1), nn.ReLU()]
        model = nn.Sequential(*layers, nn.Conv2d(32, 8, 1), nn.Conv2d(8, 5, 3)).eval()
    asked: Mapping[str, int] = {"1": 16, "3": 24}
    done = converted(model, ch=8, narrow=asked, rules={"rule": [{"match": {"name": "[15]"}, "keep": True}]})
    assert [site.name for site in done.plan.replaced] == ["3"]
    assert (done.plan["3"].site.in_channels, done.plan["3"].site.out_channels) == (16, 24)
    plain = converted(model, ch=1024, narrow=asked)
    assert distance(model, plain.model) < 0.2
    assert tuple(plain.model[3].weight.shape[:2]) == (24, 16)


def test_modes_and_the_original_stay() -> None:
    model = redundant(True).train()
    model.norm.eval()
    before = copy.deepcopy(model.state_dict())
    done = converted(model, ch=8, narrow={"expand": 16})
    assert {name: module.training for name, module in model.named_modules()} == {
        name: done.model.get_submodule(name).training for name, _ in model.named_modules()
    }
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_same_seed_gives_the_same_weights_again_from_the_plan() -> None:
    model = redundant(True)
    first = converted(model, ch=4, narrow={"expand": 24})
    again = converted(model, plan=first.plan)
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
