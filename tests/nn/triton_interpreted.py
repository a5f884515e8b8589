"""The kernels under Triton's interpreter, on the CPU: run by test_triton_kernels.py, in a process of its own."""

from __future__ import annotations

import copy
import dataclasses
import os

import pytest
import torch
from fused_fixture import block_of, fused, results
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, library, nn
from torch.autograd.graph import saved_tensors_hooks

import kswap
from kswap.inference.block_tuning import _proven
from kswap.inference.kinds import candidates_of
from kswap.inference.whole_block import WholeBlock
from kswap.nn.activation_functions import gradient, value
from kswap.nn.fused_block import fused_layer, settings_of
from kswap.nn.implementation import Implementation, ImplementationId
from kswap.nn.kernels.launching import IS_INTERPRETED, one_layer
from kswap.nn.kernels.operators import grouped_block, grouped_block_backward, grouped_block_batch_norm
from kswap.nn.norms_and_activations import ACTIVATION_CLASSES
from kswap.planner.layout import GroupedLayout
from kswap.runtimes.prepared import Prepared
from kswap.runtimes.targets import prepare
from kswap.training.kinds import trainable
from kswap.training.optimize import _is_proven

SINGLE, DOUBLE = {"rtol": 1e-4, "atol": 1e-5}, {"rtol": 1e-9, "atol": 1e-9}
EXAMPLES = int(os.environ.get("TRITON_EXAMPLES", "6"))
# The interpreter takes about a tenth of a second for each group and tile of pixels.
MOST_GROUPS = 5

blocks = st.builds(
    block_of,
    st.integers(2, 20), st.integers(1, 20), st.integers(1, 9), st.sampled_from(["v1", "v2"]),
    second_layer=st.sampled_from([True, True, False]), sum=st.sampled_from([True, True, False]), bias=st.booleans(),
    norm=st.booleans(), activation=st.sampled_from([None, *ACTIVATION_CLASSES]), stride=st.sampled_from([1, 1, 2]),
)  # fmt: skip
sizes = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))


def images(inputs: int, size: tuple[int, int, int], channels_last: bool) -> Tensor:
    n, height, width = size
    kind = torch.channels_last if channels_last else torch.contiguous_format
    return torch.randn(n, inputs, height, width, dtype=torch.double).contiguous(memory_format=kind)


def small(block: object) -> bool:
    return block is not None and all(layer.layout.groups <= MOST_GROUPS for layer in block.grouped_layers)  # type: ignore[attr-defined]


def test_the_interpreter_is_on() -> None:
    assert IS_INTERPRETED


@settings(deadline=None, max_examples=2 * EXAMPLES, database=None)
@given(block=blocks, size=sizes, channels_last=st.booleans())
def test_the_forward_pass_is_that_of_the_block(block: object, size: tuple[int, int, int], channels_last: bool) -> None:
    assume(small(block))
    block.eval()  # type: ignore[attr-defined]
    x = images(block.in_channels, size, channels_last)  # type: ignore[attr-defined]
    found = fused(block, torch.float32)(x.float())  # type: ignore[arg-type]
    torch.testing.assert_close(found.double(), block(x), **SINGLE)  # type: ignore[operator]


@settings(deadline=None, max_examples=EXAMPLES, database=None)
@given(block=blocks, size=sizes, channels_last=st.booleans(), training=st.booleans(), exact=st.booleans())
def test_gradients_and_statistics_are_those_of_the_block(
    block: object, size: tuple[int, int, int], channels_last: bool, training: bool, exact: bool
) -> None:
    assume(small(block))
    x = images(block.in_channels, (size[0] + 1, *size[1:]), channels_last)  # type: ignore[attr-defined]
    block.train(training)  # type: ignore[attr-defined]
    if exact:
        torch.testing.assert_close(results(fused(block), x), results(block, x), **DOUBLE)  # type: ignore[arg-type]
    else:
        block.eval()  # type: ignore[attr-defined]  # few values per channel are badly conditioned in float32
        found = results(fused(block, torch.float32), x.float())  # type: ignore[arg-type]
        torch.testing.assert_close(found, results(block, x), rtol=1e-3, atol=1e-3)  # type: ignore[arg-type]


@pytest.mark.parametrize("training", [False, True])
def test_wide_groups_and_several_tiles_of_pixels(training: bool) -> None:
    block = block_of(24, 17, 9, bias=True)  # with matrix products, a second path, and replicas
    assert block is not None
    block.train(training)
    x = images(24, (2, 4, 5), channels_last=True)
    found = results(fused(block, torch.float32), x.float())
    torch.testing.assert_close(found, results(block, x), rtol=1e-3, atol=1e-3)


def test_channels_that_are_read_many_times() -> None:
    """More groups than inputs: whole copies of the inputs, then the first ones again."""
    layout = GroupedLayout(3, 10, groups=4, filters_per_group=2, extra_groups=2, group_width=2, replicated=5)
    x, weight = images(3, (2, 2, 3), False), torch.randn(10, 2, dtype=torch.double)
    wanted = torch.zeros(10, 3, dtype=torch.double)
    for filter_, group in enumerate([*(g for g in range(4) for _ in range(2)), 0, 1]):
        for column in range(2):
            wanted[filter_, (group * 2 + column) % 3] += weight[filter_, column]
    torch.testing.assert_close(one_layer(x, layout, weight, None), nn.functional.conv2d(x, wanted[..., None, None]))
    grad = images(10, (2, 2, 3), False)
    rest = (None, [], None, None, [], [3, 10, 4, 2, 2, 2, 5], [], 1, "identity", "identity", True)
    of_x = grouped_block_backward(grad, x, weight, *rest)[0]
    torch.testing.assert_close(of_x, nn.functional.conv2d(grad, wanted.T[..., None, None].contiguous()))


@pytest.mark.parametrize("name", list(ACTIVATION_CLASSES))
def test_activations_and_their_gradients(name: str) -> None:
    layout = GroupedLayout(1, 1, 1, 1, 0, 1, 0)
    special = [float("nan"), float("inf"), float("-inf"), -200.0, 200.0, 0.0, -3.0, 3.0, 6.0]
    x = torch.cat([torch.tensor(special, dtype=torch.double), torch.linspace(-8, 8, 22).double()]).view(1, 1, 1, -1)
    found = one_layer(x, layout, x.new_ones(1, 1), None, name)
    wanted = ACTIVATION_CLASSES[name]()(x)
    finite = x.isfinite()
    torch.testing.assert_close(found[finite], wanted[finite])
    assert torch.equal(found.isnan()[x.isnan()], torch.tensor([True]))
    torch.testing.assert_close(value(name, x), wanted, equal_nan=True)
    y = x[finite].clone().requires_grad_()
    (of_y,) = torch.autograd.grad(ACTIVATION_CLASSES[name]()(y).sum(), y)
    torch.testing.assert_close(gradient(name, torch.ones_like(y), y), of_y)


def test_an_empty_batch_is_one() -> None:
    block = block_of(14, 10, 4, norm=False)
    assert block is not None
    assert fused(block)(torch.zeros(0, 14, 3, 3).double()).shape == (0, 10, 3, 3)


def test_linear_layers() -> None:
    block = block_of(14, 10, 4, bias=True, norm=False, activation="gelu", linear=True)
    assert block is not None
    x = torch.randn(2, 3, 14, dtype=torch.double)
    torch.testing.assert_close(results(fused(block), x), results(block, x), **DOUBLE)


def test_a_norm_that_averages_over_all_batches() -> None:
    block = block_of(9, 6, 3)
    assert block is not None
    for norm in (block.k_norm, block.l_norm):
        norm.momentum = None  # type: ignore[union-attr]
    quick = fused(block)
    for _ in range(2):
        x = images(9, (2, 2, 3), False)
        torch.testing.assert_close(results(quick, x), results(block, x), **DOUBLE)


def test_a_single_value_per_channel_is_refused_as_by_the_norm() -> None:
    block = block_of(9, 6, 3)
    assert block is not None
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        fused(block).train()(images(9, (1, 1, 1), False))


@pytest.mark.parametrize("norm", [False, True])
def test_training_keeps_less_than_a_third_of_what_the_layers_keep(norm: bool) -> None:
    block = block_of(14, 10, 4, norm=norm)
    assert block is not None
    x = images(14, (2, 6, 6), False).requires_grad_()

    def kept(module: nn.Module) -> int:
        seen: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            if tensor.untyped_storage().data_ptr() != x.untyped_storage().data_ptr():
                seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with saved_tensors_hooks(note, lambda tensor: tensor):
            alive = module(x)
        assert alive.requires_grad
        return sum(seen.values())

    assert kept(fused(block)) < kept(copy.deepcopy(block)) / 3


def test_hooks_are_called() -> None:
    block = block_of(9, 6, 3)
    assert block is not None
    quick = fused(block).eval()
    seen: list[Tensor] = []
    quick.k.register_forward_hook(lambda *given: seen.append(given[2]))
    x = images(9, (1, 2, 2), False)
    torch.testing.assert_close(quick(x), block.eval()(x))
    assert len(seen) == 1


def test_operators_are_sound() -> None:
    """Schema, gradients and shapes without numbers; on a GPU the compiler is checked, too."""
    block = block_of(9, 6, 3, bias=True)
    assert block is not None
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    for channels_last in (False, True):
        x = images(9, (2, 2, 3), channels_last).requires_grad_()
        for training, operator in ((False, grouped_block), (True, grouped_block_batch_norm)):
            block.train(training)
            k, l = (fused_layer(stage) for stage in block.fused_stages())  # noqa: E741
            arguments: list[object] = [x]
            for layer, norm in ((k, block.k_norm), (l, block.l_norm)):
                arguments += [layer.weight.detach().requires_grad_(), layer.bias.detach().requires_grad_()]  # type: ignore[union-attr]
                arguments += [norm.weight, norm.bias] if training else []  # type: ignore[union-attr]
            eps = (1e-5, 1e-5) if training else ()
            library.opcheck(operator, (*arguments, *settings_of(k, l, 2, True), *eps), test_utils=checks)


def test_exporters_and_compilers_see_one_operator() -> None:
    block = block_of(14, 10, 4)
    assert block is not None
    quick, x = fused(block).eval(), images(14, (2, 2, 3), False)
    exported = torch.export.export(quick, (x,))
    assert sum(node.target is torch.ops.kswap.grouped_block.default for node in exported.graph.nodes) == 1
    torch.testing.assert_close(exported.module()(x), block.eval()(x))
    for training in (False, True):
        compiled = torch.compile(quick.train(training), backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(x), block.train(training)(x))
    torch.testing.assert_close(quick.state_dict(), block.state_dict())


@pytest.mark.parametrize("scheme", ["v1", "v2"])
def test_implementations_for_inference(scheme: str) -> None:
    for second_layer in (True, False):
        block = block_of(14, 10, 5, scheme, second_layer=second_layer)
        assert block is not None
        block.eval()
        found = candidates_of(block)
        assert {str(one.id) for one in found.for_target("cuda")} >= {"grouped.triton", "grouped.bmm"}
        assert not {str(one.id) for one in found.for_target("eager")} & {"grouped.triton", "grouped.bmm"}
        assert found.estimated("cuda").id not in (_id("triton"), _id("bmm"))
        for channels_last in (False, True):
            x = images(block.in_channels, (2, 2, 3), channels_last)
            for method in ("triton", "bmm"):
                torch.testing.assert_close(found[_id(method)].build()(x), block(x), **DOUBLE)


def test_a_model_with_the_kernels_put_in() -> None:
    block = block_of(14, 10, 4)
    assert block is not None
    model = nn.Sequential(nn.Conv2d(3, 14, 3), block.float(), nn.Conv2d(10, 4, 1)).eval()
    x = torch.randn(2, 3, 4, 4)
    quick = kswap.optimize_for_inference(model, x, implementations={"1": "grouped.triton"})
    assert any(isinstance(part, WholeBlock) and part.by_kernel for part in quick.modules())
    torch.testing.assert_close(quick(x), model(x), **SINGLE)
    macs = kswap.optimization_of(quick)
    assert macs.macs_after == macs.macs_before  # counted on the meta device, where the stock layers compute


def test_the_implementation_for_training_has_the_parameters_of_the_block() -> None:
    block = block_of(9, 6, 3)
    assert block is not None
    built = trainable(block).named(_id("triton")).build()
    assert all(a is b for a, b in zip(built.parameters(), block.parameters(), strict=True))
    assert list(built.state_dict()) == list(block.state_dict())
    x = images(9, (2, 2, 2), False)
    wanted = results(copy.deepcopy(block), x)
    torch.testing.assert_close(results(built, x), wanted, **DOUBLE)


def test_an_implementation_that_is_wrong_or_fails_on_a_device_is_left_out() -> None:
    def fails() -> nn.Module:
        raise RuntimeError("no such instruction")

    def bends() -> nn.Module:
        return nn.Sequential(block, nn.Softsign())

    block = block_of(9, 6, 3)
    assert block is not None
    proper = trainable(block).named(_id("triton"))
    x = images(9, (2, 2, 2), False).requires_grad_()
    assert _is_proven(proper, block, x)
    for build, words in (
        (lambda: nn.Sequential(block, nn.Softsign()), "differ here by"),
        (fails, "no such instruction"),
    ):
        with pytest.warns(UserWarning, match=words):
            assert not _is_proven(dataclasses.replace(proper, build=build), block, x)
    block.eval()
    found = candidates_of(block)

    def prepared(one: Implementation) -> Prepared:
        return prepare(one.build().eval(), (x.detach(),), "eager", quick=True)

    assert _proven(found[_id("triton")], prepared, found.densest) is not None
    for build, words in (
        (lambda: nn.Sequential(block, nn.Softsign()), "differ here by"),
        (fails, "no such instruction"),
    ):
        with pytest.warns(UserWarning, match=words):
            assert _proven(dataclasses.replace(found[_id("triton")], build=build), prepared, found.densest) is None


def _id(method: str) -> ImplementationId:
    return ImplementationId.of("grouped", method)
