"""The same parameters, computed by other operators: outputs, gradients, statistics, copies, saving."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import kswap
from kswap.errors import DeployError, PlanError
from kswap.nn import GroupedBlock, PointwiseBlock
from kswap.nn.group_merging import GroupMerging, group_mergings
from kswap.nn.implementation import ImplementationId
from kswap.planner import GroupedLayout, plan_layer
from kswap.training.kinds import trainable
from kswap.training.optimize import optimize_for_training, quickest

# A bias before a batch norm has a gradient of exactly 0: what is left there is the rounding of long sums.
CLOSE = {"rtol": 1e-12, "atol": 1e-10}


def results(module: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Output, gradients of input and parameters, and state after a forward and backward pass."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    module.zero_grad()
    out = module(x)
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    (out * weights).sum().backward()
    assert x.grad is not None
    gradients = {f"grad of {name}": p.grad for name, p in module.named_parameters()}
    assert all(gradient is not None for gradient in gradients.values())
    return {"out": out.detach(), "grad of x": x.grad, **gradients, **copy.deepcopy(module.state_dict())}  # type: ignore[dict-item]


def grouped_convolutions(module: nn.Module) -> nn.Module:
    """A copy of ``module`` that is computed by PyTorch's grouped convolutions alone."""
    plain = copy.deepcopy(module)
    for block in plain.modules():
        if isinstance(block, GroupedBlock):
            block.compute_as_(None)
    return plain


def choices(block: PointwiseBlock) -> list[tuple[GroupMerging | None, GroupMerging | None]]:
    ks = group_mergings(block.k.layout)
    ls: list[GroupMerging | None] = [None] if block.l is None else list(group_mergings(block.l.layout))
    return [(ks[i % len(ks)], ls[i % len(ls)]) for i in range(max(len(ks), len(ls)))]


@settings(deadline=None, max_examples=60)
@given(
    ic=st.integers(2, 90), f=st.integers(1, 90), ch=st.integers(1, 24), scheme=st.sampled_from(["v1", "v2"]),
    bias=st.booleans(), norm=st.booleans(), act=st.booleans(), stride=st.integers(1, 2), channels_last=st.booleans(),
)  # fmt: skip
def test_every_merging_of_a_block_computes_the_same(
    ic: int, f: int, ch: int, scheme: str, bias: bool, norm: bool, act: bool, stride: int, channels_last: bool
) -> None:
    plan = plan_layer(ic, f, ch, scheme)
    if plan.k is None:
        return
    norms, acts = nn.BatchNorm2d(f) if norm else None, nn.SiLU(inplace=True) if act else None
    block = GroupedBlock(plan, norms, acts, replaces=nn.Conv2d(ic, f, 1, bias=bias, stride=stride)).double()
    x = torch.randn(3, ic, 5, 4, dtype=torch.double)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    wanted = results(grouped_convolutions(block), x)
    torch.testing.assert_close(results(copy.deepcopy(block), x), wanted, **CLOSE)  # as converted
    for k, l in choices(block):  # noqa: E741
        computed = copy.deepcopy(block)
        computed.compute_as_(k, l)
        torch.testing.assert_close(results(computed, x), wanted, **CLOSE)
        assert list(computed.state_dict()) == list(block.state_dict())


@pytest.mark.parametrize(("ic", "f"), [(1152, 320), (64, 48), (14, 10), (24, 144), (30, 2)])
def test_every_merging_keeps_channels_last(ic: int, f: int) -> None:
    block = GroupedBlock(plan_layer(ic, f, 4), nn.BatchNorm2d(f))
    x = torch.randn(2, ic, 3, 3).contiguous(memory_format=torch.channels_last).requires_grad_()
    for k, l in choices(block):  # noqa: E741
        block.compute_as_(k, l)
        out = block(x)
        (gradient,) = torch.autograd.grad(out, x, torch.ones_like(out))
        assert out.is_contiguous(memory_format=torch.channels_last)
        assert gradient.is_contiguous(memory_format=torch.channels_last)


def test_what_every_merging_multiplies_has_second_derivatives() -> None:
    block = GroupedBlock(plan_layer(9, 7, 2), replaces=nn.Conv2d(9, 7, 1)).double()
    x = torch.randn(2, 9, 2, 2, dtype=torch.double, requires_grad=True)
    for k, l in choices(block):  # noqa: E741
        block.compute_as_(k, l)
        assert torch.autograd.gradgradcheck(block, x)


def test_mergings_go_from_the_layout_itself_to_dense() -> None:
    layout = GroupedLayout.of(1152, 320, 16)
    found = group_mergings(layout)
    assert found[0] == GroupMerging(72)
    assert found[-1] == GroupMerging(1)
    assert len(set(found)) == len(found)
    assert group_mergings(GroupedLayout.of(12, 12, 16)) == [GroupMerging(1)]


@pytest.mark.parametrize("groups", [5, 7, 16])
def test_groups_that_do_not_divide_are_refused(groups: int) -> None:
    block = GroupedBlock(plan_layer(1152, 320, 16))
    with pytest.raises(PlanError, match="take a divisor"):
        block.compute_as_(GroupMerging(groups))


def test_other_kinds_stay_as_they_stand() -> None:
    block = GroupedBlock(plan_layer(64, 48, 16), replaces=nn.Linear(64, 48))
    with pytest.raises(PlanError, match="cannot be merged"):
        block.compute_as_(GroupMerging(1))
    assert optimize_for_training(nn.Sequential(block))(torch.zeros(2, 64)).shape == (2, 48)


def test_frozen_parameters_get_no_gradient() -> None:
    block = GroupedBlock(plan_layer(64, 40, 16), replaces=nn.Conv2d(64, 40, 1))
    block.k.first.requires_grad_(False)
    block(torch.randn(2, 64, 3, 3)).sum().backward()
    assert block.k.first.weight.grad is None
    assert block.l is not None
    assert block.l.first.weight.grad is not None


def test_autocast_gives_the_dtype_of_autocast() -> None:
    block = GroupedBlock(plan_layer(53, 37, 8), replaces=nn.Conv2d(53, 37, 1))
    x = torch.randn(2, 53, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        wanted = grouped_convolutions(block)(x)
        for k, l in choices(block):  # noqa: E741
            block.compute_as_(k, l)
            found = block(x)
            found.float().sum().backward()
            assert found.dtype == wanted.dtype == torch.bfloat16
            torch.testing.assert_close(found, wanted, rtol=0.05, atol=0.05)
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in block.parameters())


def small(**kwargs: object) -> kswap.Conversion:
    return kswap.convert("mobilenetv3_small_050", ch=8, device="cpu", seed=0, num_classes=4, drop_rate=0.0, **kwargs)  # type: ignore[arg-type]


def mergings_in(model: nn.Module) -> list[GroupMerging]:
    blocks = [m for m in model.modules() if isinstance(m, PointwiseBlock)]
    return [g.merging for block in blocks for g in block.grouped_layers if g.measured and g.merging is not None]


@pytest.mark.parametrize("autotune", [False, True])
def test_a_training_step_of_a_whole_model_is_the_same(autotune: bool) -> None:
    model = small().model.double().train().to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 64, 64, dtype=torch.double).contiguous(memory_format=torch.channels_last)
    plain = grouped_convolutions(model)
    quick = optimize_for_training(model, x, autotune=autotune)
    assert type(quick) is type(model)
    assert quick.training
    assert bool(mergings_in(quick)) == autotune
    assert not mergings_in(model)
    wanted = results(plain, x)
    torch.testing.assert_close(results(quick, x), wanted, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(quick.eval()(x), plain.eval()(x), rtol=1e-9, atol=1e-9)


def test_parameters_and_statistics_are_those_of_the_argument() -> None:
    model = small().model.train()
    before = copy.deepcopy(model.state_dict())
    quick = optimize_for_training(model, torch.randn(2, 3, 64, 64))
    torch.testing.assert_close(quick.state_dict(), before, rtol=0, atol=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    quick(torch.randn(2, 3, 64, 64)).square().sum().backward()
    optimizer.step()
    assert list(quick.state_dict()) == list(before)
    for (name, mine), yours in zip(quick.state_dict().items(), model.state_dict().values(), strict=True):
        assert mine.data_ptr() == yours.data_ptr(), name
    assert any(not torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_what_was_trained_is_saved_and_loaded(tmp_path: Path) -> None:
    conversion = small()
    quick = optimize_for_training(conversion.model.train())
    quick(torch.randn(2, 3, 64, 64)).square().sum().backward()
    torch.optim.SGD(quick.parameters(), lr=0.1).step()
    loaded = kswap.load(conversion.save(tmp_path / "saved"), device="cpu").model
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(loaded(x), quick.eval()(x), rtol=1e-3, atol=1e-4)


def test_a_deep_copy_computes_in_the_same_way_with_weights_of_its_own() -> None:
    quick = optimize_for_training(small().model)
    other = copy.deepcopy(quick)
    assert mergings_in(other) == mergings_in(quick)
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(other.eval()(x), quick.eval()(x))
    assert next(other.parameters()) is not next(quick.parameters())


def test_without_an_input_to_measure_on_the_model_stays_as_converted() -> None:
    quick = optimize_for_training(nn.Sequential(GroupedBlock(plan_layer(1152, 320, 16))))
    assert not mergings_in(quick)


def test_a_recorded_graph_has_stock_operators_only() -> None:
    block = GroupedBlock(plan_layer(30, 22, 4), nn.BatchNorm2d(22)).eval()
    x = torch.randn(2, 30, 3, 3)
    wanted = block(x)
    for k, l in choices(block):  # noqa: E741
        block.compute_as_(k, l)
        exported = torch.export.export(block, (x,))
        torch.testing.assert_close(exported.module()(x), wanted)
        assert all("autograd" not in str(node.target) for node in exported.graph.nodes)


def test_a_model_without_blocks_is_refused() -> None:
    with pytest.raises(DeployError, match="convert it first"):
        optimize_for_training(nn.Conv2d(3, 3, 1))


def test_an_input_that_does_not_fit_is_refused() -> None:
    model = small().model.train()
    with pytest.raises(DeployError, match="cannot be run on the example input"):
        optimize_for_training(model, torch.zeros(1, 5, 64, 64))
    assert all(module.training for module in model.modules())


def test_the_transforms_of_torch_func_work_on_every_merging() -> None:
    block = GroupedBlock(plan_layer(30, 22, 4), nn.BatchNorm2d(22)).eval().double()
    x = torch.randn(2, 1, 30, 3, 3, dtype=torch.double)

    def gradient(x: Tensor) -> Tensor:
        return torch.func.grad(lambda x: block(x).square().sum())(x)  # type: ignore[no-any-return]

    def results() -> list[Tensor]:
        (_, tangent) = torch.func.jvp(block, (x[0],), (torch.ones_like(x[0]),))
        return [torch.vmap(block)(x), torch.vmap(gradient)(x), tangent]

    wanted = results()
    for k, l in choices(block):  # noqa: E741
        block.compute_as_(k, l)
        torch.testing.assert_close(results(), wanted, **CLOSE)


def test_measuring_takes_the_quickest_of_the_whole_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """K first, then L with the K that was found; weights, gradients and statistics stay."""
    block = GroupedBlock(plan_layer(1152, 320, 16), nn.BatchNorm2d(320), nn.SiLU()).train()
    before = copy.deepcopy(block.state_dict())
    asked: list[list[str]] = []

    def interleaved(runs: dict[str, Callable[[], object]], **_: object) -> dict[str, list[float]]:
        asked.append(list(runs))
        for run in list(runs.values())[:2]:
            run()
        return {text: [2.0 - ("k_groups=36" in text) * (1 + ("l_groups=10" in text)) / 2] for text in runs}

    monkeypatch.setattr("kswap.training.optimize.interleaved", interleaved)
    chosen = quickest(block, torch.empty(1, 1152, 4, 4))
    others = [len(group_mergings(layer.layout)) for layer in block.grouped_layers]
    assert [len(texts) for texts in asked] == [others[0] + 2, others[1] + 2]  # as it stands, and a grouped convolution
    assert (chosen["k_groups"], chosen["l_groups"]) == (36, 10)
    assert ImplementationId.parse(str(chosen)) == chosen
    torch.testing.assert_close(block.state_dict(), before, rtol=0, atol=0)
    assert all(p.grad is None for p in block.parameters())
    built = trainable(block).named(chosen).build()
    assert mergings_in(built) == [GroupMerging(36), GroupMerging(10)]
    assert all(a is b for a, b in zip(built.parameters(), block.parameters(), strict=True))


def test_low_rank_blocks_are_trained_as_they_are() -> None:
    model = kswap.convert("test_resnet", kind="low-rank", device="cpu", seed=0).model.train()
    quick = optimize_for_training(model, torch.randn(2, 3, 64, 64))
    assert all(a is b for a, b in zip(model.parameters(), quick.parameters(), strict=True))
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(model.eval()(x), quick.eval()(x))


def test_the_global_random_state_is_not_advanced() -> None:
    model, x = small().model.train(), torch.randn(2, 3, 64, 64)
    before = torch.get_rng_state()
    optimize_for_training(model, x)
    assert torch.equal(torch.get_rng_state(), before)
