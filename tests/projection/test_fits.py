"""Fits of single blocks to trained layers: never worse from step to step, exact where the form allows it."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from fits_fixture import drawn, inputs, moments_of, trained
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers.std_conv import ScaledStdConv2d, StdConv2d
from torch import Tensor, nn

from kswap.errors import DataError
from kswap.nn import build_block
from kswap.nn.affine import affine_of
from kswap.planner import BlockSettings, plan_block
from kswap.planner.block_plan import BlockPlan
from kswap.planner.layer_plan import LayerPlan
from kswap.projection.alternating import Alternation
from kswap.projection.kinds import fit, matrix_of, write_
from kswap.projection.moments import Moments
from kswap.projection.objective import Objective

SEEDS = st.integers(0, 2**16)


def plan_of(channels: int, filters: int, ch: int = 4, **settings: object) -> BlockPlan:
    return plan_block(channels, filters, BlockSettings(ch=ch, **settings))  # type: ignore[arg-type]


@st.composite
def plans(draw: st.DrawFn) -> BlockPlan:
    """Blocks with and without L, sum and second path, of both schemes, with capped groups and dense L."""
    channels, filters = draw(st.integers(6, 40)), draw(st.integers(2, 40))
    scheme, ch = draw(st.sampled_from(["v1", "v2"])), draw(st.integers(1, 12))
    second, total = draw(st.booleans()), draw(st.booleans())
    return plan_block(channels, filters, BlockSettings(ch=ch, scheme=scheme, second_layer=second, sum=total))


@given(plans(), SEEDS, st.sampled_from([1, 5, 200]))
@settings(max_examples=60, deadline=None)
def test_no_half_step_raises_the_error(plan: BlockPlan, seed: int, count: int) -> None:
    if not plan.replaces:
        return
    weight = trained(plan.out_channels, plan.in_channels, seed)
    x = inputs(plan.in_channels, count, seed)
    x[:, 0] = 3.0  # a dead channel
    moments = moments_of(x, weight)
    fitted = fit(plan, weight, moments, seed)
    assert fitted.matrix.isfinite().all()
    assert all(after <= before + 1e-12 for before, after in pairwise(fitted.errors))
    assert fitted.errors[-1] == pytest.approx(Objective.of(weight, moments).value(fitted.matrix), abs=1e-9)


@given(plans(), SEEDS, st.booleans())
@settings(max_examples=40, deadline=None)
def test_k_and_l_improve_by_turns_from_any_start(plan: BlockPlan, seed: int, zero_sum: bool) -> None:
    if not isinstance(plan, LayerPlan) or plan.l is None or plan.narrowest < 2:
        return
    weight = trained(plan.out_channels, plan.in_channels, seed)
    objective = Objective.of(weight, moments_of(inputs(plan.in_channels, 30, seed), weight))
    steps = Alternation(plan, objective, zero_sum)
    k, l = (torch.randn(s.zeros().shape, generator=drawn(seed)).double() for s in (steps.k_support, steps.l_support))  # noqa: E741
    if zero_sum:
        k, l = k - k.mean(1, keepdim=True), l - l.mean(1, keepdim=True)  # noqa: E741
    errors = [objective.value(steps.matrix(k, l))]
    for _ in range(2):
        k = steps.k_step(k, l)
        errors.append(objective.value(steps.matrix(k, l)))
        l = steps.l_step(k, l)  # noqa: E741
        errors.append(objective.value(steps.matrix(k, l)))
    assert all(after <= before * (1 + 1e-9) + 1e-12 for before, after in pairwise(errors))
    if zero_sum:
        assert k.sum(1).abs().max() < 1e-6 * k.abs().max()
        assert l.sum(1).abs().max() < 1e-6 * l.abs().max()


@st.composite
def assigned_plans(draw: st.DrawFn) -> BlockPlan:
    """Layouts with replication, second paths and capped groups."""
    channels, filters = draw(st.integers(3, 40)), draw(st.integers(2, 40))
    return plan_block(channels, filters, BlockSettings("assigned", draw(st.integers(1, 12))))


@pytest.mark.parametrize("kind", ["grouped", "assigned"])
@given(st.data(), SEEDS)
@settings(max_examples=30, deadline=None)
def test_the_written_block_computes_the_fitted_matrix(kind: str, data: st.DataObject, seed: int) -> None:
    plan = data.draw(plans() if kind == "grouped" else assigned_plans())
    if not plan.replaces:
        return
    weight = trained(plan.out_channels, plan.in_channels, seed)
    moments = moments_of(inputs(plan.in_channels, 100, seed), weight)
    fitted = fit(plan, weight, moments, seed)
    block = build_block(plan, replaces=nn.Conv2d(plan.in_channels, plan.out_channels, 1, dtype=torch.float64))
    write_(block, fitted, moments)
    assert block.plan == fitted.plan
    assert isinstance(fitted.plan, LayerPlan) or fitted.plan.is_assigned
    written = matrix_of(block)
    torch.testing.assert_close(written.weight, fitted.matrix, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(written.weight @ moments.x_mean + written.bias, moments.y_mean, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("kind", ["grouped", "low-rank", "assigned"])
@pytest.mark.parametrize(
    "layer", [nn.Linear(24, 16), nn.Conv1d(24, 16, 1, stride=2), nn.Conv3d(24, 16, 1), nn.Conv2d(24, 16, 1, bias=False)]
)
def test_layers_of_every_dimension_are_written(layer: nn.Module, kind: str) -> None:
    plan, weight = plan_of(24, 16, kind=kind), trained(16, 24, 0)
    moments = moments_of(inputs(24, 100, 0), weight)
    fitted = fit(plan, weight, moments)
    block = build_block(plan, replaces=layer.to(torch.float32))
    write_(block, fitted, moments)
    torch.testing.assert_close(matrix_of(block).weight, fitted.matrix, rtol=1e-5, atol=1e-5)
    assert matrix_of(block).bias.any() == (layer.bias is not None)


@pytest.mark.parametrize("kind", ["grouped", "low-rank"])
@pytest.mark.parametrize(("channels", "filters"), [(24, 36), (36, 24)])
def test_more_data_does_not_hurt_and_no_fresh_draw_is_better(channels: int, filters: int, kind: str) -> None:
    plan = plan_of(channels, filters, kind=kind)
    weight = trained(filters, channels, 0)
    x = inputs(channels, 40_000, 0)
    fresh = moments_of(x[20_000:], weight)
    errors = [fresh.error(fit(plan, weight, moments_of(x[:count], weight)).matrix) for count in (60, 240, 960)]
    assert all(after <= before + 0.005 for before, after in pairwise(errors))
    assert errors[-1] < 0.9
    for seed in range(5):
        torch.manual_seed(seed)
        block = build_block(plan)
        block.reset_parameters()
        assert errors[-1] < fresh.error(matrix_of(block).weight)


@pytest.mark.parametrize("kind", ["grouped", "low-rank"])
def test_the_same_seed_gives_the_same_weights(kind: str) -> None:
    plan, weight = plan_of(36, 24, kind=kind), trained(24, 36, 0)
    moments = moments_of(inputs(36, 100, 0), weight)
    first, second = (fit(plan, weight, moments, seed=3) for _ in range(2))
    assert all(torch.equal(first.parts[name], second.parts[name]) for name in first.parts)


@pytest.mark.parametrize("kind", ["grouped", "low-rank"])
def test_no_variance_leaves_the_weights_to_decide(kind: str) -> None:
    """One position, all-zero outputs, no inputs that vary: weights are finite, and close to the trained ones."""
    plan, weight = plan_of(24, 16, kind=kind), trained(16, 24, 0)
    x = inputs(24, 1, 0)
    one = fit(plan, weight, moments_of(x, weight)).matrix
    assert ((one - weight) ** 2).sum() < (weight**2).sum()
    many = inputs(24, 100, 0)
    assert fit(plan, weight, Moments.of(many, torch.zeros(100, 16))).matrix.isfinite().all()
    assert not fit(plan, 0 * weight, Moments.of(many, torch.zeros(100, 16))).matrix.any()
    assert not fit(plan, 0 * weight, Moments.of(x, torch.zeros(1, 16))).matrix.any()


@given(st.integers(1, 11), SEEDS)
@settings(max_examples=20, deadline=None)
def test_low_rank_is_the_best_of_its_rank(rank: int, seed: int) -> None:
    """Eckart and Young: what is left is the sum of the squares of the other singular values, in the weighted norm."""
    weight, x = trained(24, 24, seed), inputs(24, 500, seed)
    moments = moments_of(x, weight)
    fitted = fit(plan_of(24, 24, kind="low-rank", rank=rank), weight, moments)
    values = torch.linalg.svdvals((x - x.mean(0)) @ weight.T)
    best = float(values[rank:].square().sum() / values.square().sum())
    assert best - 1e-12 <= moments.error(fitted.matrix) < best * 1.5 + 1e-3
    assert torch.linalg.matrix_rank(fitted.matrix) <= rank


@pytest.mark.parametrize("kind", ["grouped", "low-rank"])
def test_a_map_of_the_form_is_recovered(kind: str) -> None:
    """K alone and low rank: in closed form, from fewer positions than channels."""
    plan = plan_of(30, 44, ch=8, kind=kind)
    torch.manual_seed(0)
    weight = matrix_of(build_block(plan)).weight
    moments = moments_of(inputs(30, 20, 0), weight)
    assert moments.error(fit(plan, weight, moments).matrix) < 1e-12


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("channels", "filters", "scheme", "total"),
    [(64, 40, "v2", True), (30, 14, "v2", True), (64, 40, "v2", False), (100, 12, "v1", True), (50, 8, "v2", True)],
)
def test_a_map_of_k_and_l_is_recovered(channels: int, filters: int, scheme: str, total: bool, seed: int) -> None:
    """By alternation, which converges: with second paths, capped groups, dense L and without the sum."""
    plan = plan_of(channels, filters, ch=8, scheme=scheme, sum=total)
    assert isinstance(plan, LayerPlan)
    assert plan.l is not None
    torch.manual_seed(seed)
    block = build_block(plan)
    block.reset_parameters()
    weight = matrix_of(block).weight
    moments = moments_of(torch.randn(400, channels, generator=drawn(seed)).double(), weight)
    assert moments.error(fit(plan, weight, moments).matrix) < 1e-6


@pytest.mark.parametrize("kind", ["grouped", "low-rank"])
@pytest.mark.parametrize("filters", [48, 24])
@pytest.mark.parametrize("layer", [StdConv2d, ScaledStdConv2d])
def test_weight_standardised_layers_hold_the_fit_as_far_as_they_can(
    layer: type[nn.Conv2d], filters: int, kind: str
) -> None:
    """Without a gain the sizes of filters are lost, so that each output is compared at its best scale."""
    plan, old = plan_of(32, filters, ch=8, kind=kind), layer(32, filters, 1, bias=True)
    x = inputs(32, 400, 0)
    weight = affine_of(old, 32).weight
    moments = moments_of(x, weight)

    def error(matrix: Tensor) -> float:
        if layer is StdConv2d:
            size = ((matrix @ moments.xx) * matrix).sum(1)
            matrix = matrix * ((matrix * moments.yx).sum(1) / size)[:, None]
        return moments.error(matrix)

    fitted = fit(plan, weight, moments)
    block = build_block(plan, replaces=old)
    fresh = error(matrix_of(block).weight)
    write_(block, fitted, moments)
    written = matrix_of(block)
    torch.testing.assert_close(written.weight @ moments.x_mean + written.bias, moments.y_mean, rtol=1e-3, atol=1e-4)
    assert error(written.weight) < moments.error(fitted.matrix) + 0.2
    assert error(written.weight) < fresh - 0.2


def test_moments_that_are_not_finite_are_refused() -> None:
    weight, x = trained(16, 24, 0), inputs(24, 100, 0)
    x[3, 3] = float("nan")
    with pytest.raises(DataError, match="not finite"):
        fit(plan_of(24, 16), weight, moments_of(x, weight))


def test_few_positions_are_trusted_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """With fewer positions than channels, the error on other data is lower for a stronger pull to the weights."""
    plan, weight, x = plan_of(60, 30, ch=8), trained(30, 60, 0), inputs(60, 5_000, 0)
    few, fresh = moments_of(x[:30], weight), moments_of(x[1000:], weight)
    chosen = fresh.error(fit(plan, weight, few).matrix)
    monkeypatch.setattr("kswap.projection.objective.RIDGE_OF_FEW", 0.0)
    assert chosen < fresh.error(fit(plan, weight, few).matrix) - 0.02
