"""Structured layers learn at a rate of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from timm.scheduler import CosineLRScheduler
from torch import nn
from training_fixture import QUICK, classes, network, trained, weights_of

import kswap
from kswap.errors import TrainingError
from kswap.nn import PointwiseBlock
from kswap.training.parameter_groups import parameter_groups


@pytest.mark.parametrize("kind", ["grouped", "low-rank"])
def test_layers_of_blocks_are_apart_and_every_parameter_is_in_one_group(kind: str) -> None:
    model = kswap.convert("test_efficientnet", ch=8, kind=kind, device="cpu", seed=0).model
    groups = parameter_groups(model, lr=0.1, structured_lr=0.3, weight_decay=0.05)
    params = [p for group in groups for p in group["params"]]
    assert len(params) == len({id(p) for p in params}) == len(list(model.parameters()))
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    block = next(module for module in model.modules() if isinstance(module, PointwiseBlock))
    assert {rate[id(layer.weight)] for layer in block.layers} == {0.3}
    assert {decay[id(layer.weight)] for layer in block.layers} == {0.05}
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(rate[id(norm.weight)] == 0.1 and decay[id(norm.weight)] == 0 for norm in norms)
    assert rate[id(model.get_classifier().weight)] == 0.1


def test_a_step_moves_structured_weights_at_their_rate() -> None:
    model = kswap.convert("test_resnet", ch=8, device="cpu", seed=0).model
    optimizer = torch.optim.SGD(parameter_groups(model, lr=0.1, structured_lr=0.5))
    schedule = CosineLRScheduler(optimizer, t_initial=10)
    schedule.step(5)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.25])
    layer = next(module for module in model.modules() if isinstance(module, PointwiseBlock)).layers[0]
    before, classifier = layer.weight.detach().clone(), model.get_classifier().weight.detach().clone()
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    torch.testing.assert_close(before - layer.weight, torch.full_like(before, 0.25))
    torch.testing.assert_close(classifier - model.get_classifier().weight, torch.full_like(classifier, 0.05))


def test_a_model_without_blocks_has_one_rate_and_frozen_parameters_none() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    (group,) = parameter_groups(model, lr=0.1, structured_lr=0.3)
    assert group["lr"] == 0.1
    assert [id(p) for p in group["params"]] == [id(p) for p in model[1].parameters()]


@pytest.mark.parametrize(("lr", "structured_lr", "weight_decay"), [(0, 1, 0), (1, -1, 0), (1, 1, -0.1)])
def test_rates_below_zero_are_refused(lr: float, structured_lr: float, weight_decay: float) -> None:
    with pytest.raises(TrainingError, match="must be above 0"):
        parameter_groups(nn.Linear(2, 2), lr, structured_lr, weight_decay)


def test_a_recipe_may_set_the_rate_of_structured_layers(tmp_path: Path) -> None:
    """One step from the same weights on the same pictures: only the layers of blocks move further."""
    data = classes(tmp_path / "data", train=2, test=1)
    start = {name: tensor.clone() for name, tensor in network().model.state_dict().items()}

    def moved(structured_lr: float) -> dict[str, torch.Tensor]:
        end = weights_of(trained(data, recipe={**QUICK, "structured_lr": structured_lr}, epochs=1, lr=1e-4))
        return {name: end[name] - tensor for name, tensor in start.items()}

    usual, quick = moved(1.0), moved(4.0)
    block = network().report.replaced[0].name
    inside = next(name for name in usual if name.startswith(f"{block}.") and name.endswith("weight"))
    torch.testing.assert_close(quick[inside], 4 * usual[inside], rtol=1e-2, atol=1e-6)
    torch.testing.assert_close(quick["fc.weight"], usual["fc.weight"], rtol=1e-2, atol=1e-6)
