"""A converted model with what people train with: optimizers, EMA, mixed precision, compile, export, wrappers."""

from __future__ import annotations

import copy
import os

import pytest
import timm
import torch
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3
from torch import Tensor, nn

import kswap
from kswap.graph.optimizer import follow_
from kswap.nn import PointwiseBlock

SMALL = "mobilenetv3_small_050"
TINY = "test_resnet"


@pytest.fixture(scope="module")
def converted() -> kswap.Conversion:
    return kswap.convert(SMALL, ch=8, device="cpu", seed=0, num_classes=5, input_size=(64, 64))


def loss_of(model: nn.Module, seed: int = 0) -> Tensor:
    x = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
    return nn.functional.cross_entropy(model(x), torch.arange(4))


@pytest.mark.parametrize(
    "make",
    [
        lambda model: torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
        lambda model: torch.optim.AdamW(model.parameters(), lr=0.01),
        lambda model: create_optimizer_v2(model, "lamb", lr=0.01, layer_decay=0.7, weight_decay=0.05),
    ],
    ids=["sgd", "adamw", "timm-lamb-layer-decay"],
)
def test_every_optimizer_moves_every_block(converted: kswap.Conversion, make: object) -> None:
    model = copy.deepcopy(converted.model).train()
    optimizer = make(model)  # type: ignore[operator]
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    losses = []
    for _ in range(6):
        loss = loss_of(model)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    still = {name for name, p in model.named_parameters() if torch.equal(p, start[name])}
    inside = {
        f"{name}.{key}"
        for name, module in model.named_modules()
        if isinstance(module, PointwiseBlock)
        for key, _ in module.named_parameters()
    }
    assert inside
    assert not still & inside


def test_layer_decay_puts_a_block_where_its_convolution_was(converted: kswap.Conversion) -> None:
    def rates(model: nn.Module) -> dict[str, float]:
        optimizer = create_optimizer_v2(model, "sgd", lr=0.1, layer_decay=0.5)
        names = {id(p): name for name, p in model.named_parameters()}
        return {names[id(p)]: group["lr_scale"] for group in optimizer.param_groups for p in group["params"]}

    before, after = rates(timm.create_model(SMALL, num_classes=5)), rates(converted.model)
    assert len(set(before.values())) > 3
    for site in converted.plan.replaced:
        assert after[f"{site.name}.k.first.weight"] == before[f"{site.name}.weight"]


def test_ema_follows_the_model(converted: kswap.Conversion) -> None:
    model = copy.deepcopy(converted.model).train()
    ema = ModelEmaV3(model, decay=0.5)
    site = converted.plan.replaced[0].name
    weight = model.get_submodule(site).k.first.weight  # type: ignore[union-attr]
    old = weight.detach().clone()
    with torch.no_grad():
        weight.add_(1.0)
    ema.update(model, step=1000)
    averaged = ema.module.get_submodule(site).k.first.weight  # type: ignore[union-attr]
    torch.testing.assert_close(averaged, old + 0.5)
    assert ema.module.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 5)


def test_mixed_precision(converted: kswap.Conversion) -> None:
    model = copy.deepcopy(converted.model).train()
    with torch.amp.autocast("cpu", dtype=torch.bfloat16):
        out = model(torch.randn(2, 3, 64, 64))
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    blocks = [m for m in model.modules() if isinstance(m, PointwiseBlock)]
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for b in blocks for p in b.parameters())


def test_moves_between_types_and_devices(converted: kswap.Conversion) -> None:
    double = copy.deepcopy(converted.model).double().eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(double(x.double()).float(), converted.model.eval()(x), rtol=1e-3, atol=1e-4)
    channels_last = copy.deepcopy(converted.model).to(memory_format=torch.channels_last).eval()
    with torch.no_grad():
        found = channels_last(x.to(memory_format=torch.channels_last))
        torch.testing.assert_close(found, converted.model(x), rtol=1e-3, atol=1e-4)
    moved = copy.deepcopy(converted.model).to("meta")
    assert moved(x.to("meta")).shape == (1, 5)


@pytest.fixture(scope="module")
def tiny() -> kswap.Conversion:
    """Few blocks, with and without L, so that compilers are soon done."""
    return kswap.convert(TINY, ch=8, device="cpu", seed=0, num_classes=5, input_size=(64, 64))


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_compile(tiny: kswap.Conversion, train: bool) -> None:
    torch._dynamo.reset()
    model = copy.deepcopy(tiny.model).train(train)
    reference = copy.deepcopy(model)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(compiled(x), reference(x), rtol=1e-4, atol=1e-5)
    if train:
        compiled(x).sum().backward()
        assert all(p.grad is not None for p in model.parameters())


def test_export(tiny: kswap.Conversion) -> None:
    model = copy.deepcopy(tiny.model).eval()
    batch = torch.export.Dim("batch", min=1, max=8)
    exported = torch.export.export(model, (torch.randn(2, 3, 64, 64),), dynamic_shapes=({0: batch},))
    x = torch.randn(5, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(exported.module()(x), model(x), rtol=1e-4, atol=1e-5)


def test_wrapped_models_are_refused_with_what_to_pass_instead() -> None:
    model = timm.create_model(SMALL)
    with pytest.raises(kswap.KswapError, match=r"DataParallel around a model: pass its \.module"):
        kswap.convert(nn.DataParallel(model))
    with pytest.raises(kswap.KswapError, match=r"compiled: pass its \._orig_mod"):
        kswap.convert(torch.compile(model, backend="eager"))
    with pytest.raises(kswap.KswapError, match="TorchScript"):
        kswap.convert(torch.jit.script(nn.Sequential(nn.Conv2d(64, 64, 1))))


def test_a_model_that_was_compiled_in_place_gives_one_that_is_not() -> None:
    model = timm.create_model(TINY)
    model.compile(backend="eager")
    new = kswap.convert(model, ch=8, input_size=(64, 64)).model
    assert model._compiled_call_impl is not None
    assert new._compiled_call_impl is None


def test_distributed_models_are_refused(tmp_path: object) -> None:
    from torch import distributed

    if not distributed.is_available():
        assert os.name == "nt"
        return
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(timm.create_model(SMALL))
        with pytest.raises(kswap.KswapError, match=r"DistributedDataParallel around a model: pass its \.module"):
            kswap.convert(wrapped)
        inner = kswap.convert(wrapped.module, ch=8, input_size=(64, 64)).model
        again = nn.parallel.DistributedDataParallel(inner)
        loss_of(again).backward()
    finally:
        distributed.destroy_process_group()


def test_a_model_that_keeps_results_of_a_forward_pass_converts() -> None:
    """timm's LeViT keeps its attention biases, with their history, when it runs in eval mode."""
    model = timm.create_model("levit_conv_128s").eval()
    model(torch.zeros(1, 3, 224, 224))
    plan = kswap.plan(model)
    assert len(plan.replaced) > 40


class Groups:
    """A model, its conversion, and an optimizer of the model with norms and biases in a group of their own."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = timm.create_model(SMALL, num_classes=5)
        self.outside = nn.Parameter(torch.zeros(3))
        plain = [p for p in self.model.parameters() if p.ndim < 2]
        decayed = [p for p in self.model.parameters() if p.ndim >= 2]
        groups = [
            {"params": decayed, "weight_decay": 0.1, "lr": 0.01},
            {"params": [*plain, self.outside], "weight_decay": 0.0, "lr": 0.02},
        ]
        self.optimizer = torch.optim.AdamW(groups)
        loss_of(self.model.train()).backward()
        self.optimizer.step()
        self.converted = kswap.convert(self.model, ch=8, input_size=(64, 64), seed=0)


def test_an_optimizer_follows_the_surgery() -> None:
    given = Groups()
    optimizer, new = given.optimizer, given.converted.model
    moments = {n: optimizer.state[p]["exp_avg"].clone() for n, p in given.model.named_parameters()}
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    follow_(optimizer, given.model, new)
    decayed, plain = (group["params"] for group in optimizer.param_groups)
    held = [id(p) for p in (*decayed, *plain)]
    assert sorted(held) == sorted([*(id(p) for p in new.parameters()), id(given.outside)])
    ids = {id(p) for p in decayed}
    assert {id(p) for p in new.parameters() if p.ndim >= 2} == ids
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.02]
    kept = {n: p for n, p in new.named_parameters() if n in moments}
    assert len(kept) > 20
    assert all(torch.equal(optimizer.state[p]["exp_avg"], moments[n]) for n, p in kept.items())
    assert {id(p) for p in optimizer.state} <= {id(p) for p in kept.values()} | {id(given.outside)}
    loss_of(new.train()).backward()
    optimizer.step()
    schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.005, 0.01]
    assert all("exp_avg" in optimizer.state[p] for p in new.parameters())


def test_an_optimizer_with_named_parameters_follows() -> None:
    model = timm.create_model(SMALL, num_classes=5)
    optimizer = torch.optim.SGD(model.named_parameters(), lr=0.1)
    new = kswap.convert(model, ch=8, input_size=(64, 64), seed=0).model
    follow_(optimizer, model, new)
    group = optimizer.param_groups[0]
    assert {n: id(p) for n, p in zip(group["param_names"], group["params"], strict=True)} == {
        n: id(p) for n, p in new.named_parameters()
    }


def test_what_was_not_trained_does_not_enter() -> None:
    model = timm.create_model(SMALL, num_classes=5)
    head = list(model.get_classifier().parameters())
    optimizer = torch.optim.SGD(head, lr=0.1)
    new = kswap.convert(model, ch=8, input_size=(64, 64), seed=0).model
    follow_(optimizer, model, new)
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in new.get_classifier().parameters()]


def test_an_optimizer_of_another_model_is_refused() -> None:
    model = timm.create_model(SMALL, num_classes=5)
    other = torch.optim.SGD(timm.create_model(SMALL).parameters(), lr=0.1)
    with pytest.raises(kswap.KswapError, match="no parameter of this model"):
        follow_(other, model, model)
    with pytest.raises(kswap.KswapError, match=r"must be a torch\.optim\.Optimizer"):
        follow_("adam", model, model)  # type: ignore[arg-type]


def test_convert_takes_the_optimizer_along() -> None:
    model = timm.create_model("mobilenetv3_small_050", num_classes=10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    converted = kswap.convert(model, ch=8, optimizer=optimizer).model
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in converted.parameters()}
    with pytest.raises(kswap.KswapError):
        kswap.convert("mobilenetv3_small_050", ch=8, optimizer=optimizer)
