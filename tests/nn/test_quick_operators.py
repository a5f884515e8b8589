"""K, L and the interleave on a CPU by other operators than PyTorch's grouped convolution: values, and who sees what."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.utils import parametrize
from torch.utils.flop_counter import FlopCounterMode

from kswap.nn import GroupedBlock, GroupedPointwise, Interleave
from kswap.nn.group_merging import GroupMerging, quick_merging
from kswap.planner import GroupedLayout, plan_layer

SIZES = [(24, 144), (64, 40), (30, 22), (672, 28)]


def layers(ic: int, f: int) -> tuple[GroupedPointwise, GroupedPointwise]:
    """A layer as it comes, and a copy by PyTorch's grouped convolution."""
    layer = GroupedPointwise(GroupedLayout.of(ic, f, 16), nn.Conv2d(1, 1, 1)).double()
    plain = copy.deepcopy(layer)
    plain.compute_as_(None)
    return layer, plain


@pytest.mark.parametrize(("ic", "f"), SIZES)
@pytest.mark.parametrize("shape", [(1, 4, 3), (1, 1, 1), (3, 1, 1), (3, 4, 3)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_outputs_and_gradients_are_those_of_the_grouped_convolution(
    ic: int, f: int, shape: tuple[int, int, int], memory_format: torch.memory_format
) -> None:
    n, h, w = shape
    x = torch.randn(n, ic, h, w, dtype=torch.double).contiguous(memory_format=memory_format)
    found = []
    for layer in layers(ic, f):
        read = x.clone(memory_format=torch.preserve_format).requires_grad_()
        out = layer(read)
        gradients = torch.autograd.grad(out.square().sum(), [read, *layer.parameters()])
        assert out.is_contiguous(memory_format=memory_format)
        found.append([out, *gradients])
    torch.testing.assert_close(found[0], found[1])


def test_a_batch_without_samples_has_no_outputs() -> None:
    assert layers(64, 40)[0](torch.zeros(0, 64, 4, 4).double()).shape == (0, 40, 4, 4)


def test_other_channels_are_refused_as_by_a_convolution() -> None:
    with pytest.raises(RuntimeError, match="channels"):
        layers(64, 40)[0](torch.zeros(2, 63, 4, 4).double())


def test_there_is_nothing_to_save_or_to_move() -> None:
    block = GroupedBlock(plan_layer(64, 40, 16))
    assert [name for name, _ in block.named_buffers()] == ["interleave.order"]
    assert list(block.state_dict()) == ["k.first.weight", "l.first.weight", "l.second.weight"]
    assert {type(module) for module in block.modules()} == {GroupedBlock, GroupedPointwise, Interleave, nn.Conv2d}


def test_pickles_and_copies_compute_the_same() -> None:
    block, x = GroupedBlock(plan_layer(64, 40, 16)), torch.randn(2, 64, 3, 3)
    wanted = block(x)
    written = io.BytesIO()
    torch.save(block, written)
    written.seek(0)
    assert torch.equal(torch.load(written, weights_only=False)(x), wanted)
    assert torch.equal(copy.deepcopy(block)(x), wanted)


def test_a_model_that_ran_in_inference_mode_can_be_trained() -> None:
    block, x = GroupedBlock(plan_layer(72, 44, 16)), torch.randn(2, 72, 3, 3)
    with torch.inference_mode():
        block(x)
    block(x).sum().backward()
    assert all(p.grad is not None for p in block.parameters())


def calls(layer: GroupedPointwise, x: Tensor) -> list[str]:
    seen: list[str] = []
    handles = [conv.register_forward_hook(lambda *_: seen.append("called")) for conv in layer.convolutions]
    layer(x)
    for handle in handles:
        handle.remove()
    return seen


def test_convolutions_with_hooks_are_called() -> None:
    layer, x = layers(64, 40)[0], torch.randn(2, 64, 3, 3).double()
    assert len(calls(layer, x)) == len(layer.convolutions)


def test_a_parametrized_convolution_is_called_itself() -> None:
    class Doubled(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return 2 * weight

    layer, x = GroupedPointwise(GroupedLayout.of(64, 48, 16)), torch.randn(2, 64, 3, 3)
    wanted = 2 * layer(x)
    parametrize.register_parametrization(layer.first, "weight", Doubled())
    torch.testing.assert_close(layer(x), wanted)


def test_counters_of_operators_see_the_weights_of_the_plan() -> None:
    plan = plan_layer(64, 40, 16)
    with FlopCounterMode(display=False) as counter:
        GroupedBlock(plan)(torch.randn(2, 64, 3, 3))
    assert counter.get_total_flops() == 2 * plan.weights * 2 * 9


def test_forward_derivatives() -> None:
    block = GroupedBlock(plan_layer(64, 40, 16)).double()
    x, along = torch.randn(2, 64, 3, 3).double(), torch.randn(2, 64, 3, 3).double()
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(block(forward_ad.make_dual(x, along))).tangent
    torch.testing.assert_close(tangent, block(along))  # the block is linear


def test_groups_are_as_wide_as_the_memory_format_needs() -> None:
    layout = GroupedLayout.of(1152, 320, 16)
    assert quick_merging(layout, channels_last=False) == GroupMerging(72)
    assert quick_merging(layout, channels_last=True).groups < 72
    assert quick_merging(GroupedLayout.of(320, 320, 16), channels_last=True) == GroupMerging(20)
    narrow, wide = GroupedLayout.of(24, 24, 16), GroupedLayout.of(40, 240, 16)  # both replicate inputs
    assert quick_merging(narrow, channels_last=False) == GroupMerging(1)
    assert quick_merging(wide, channels_last=False) == GroupMerging(3)
