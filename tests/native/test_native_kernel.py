"""The native kernel against float64, over plans, shapes, strides and numbers that are not finite."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from native_fixture import compiled_kernel
from torch import Tensor, library

from kswap.native.operator import ACTIVATIONS, grouped_block
from kswap.planner.layer_plan import interleave_order
from kswap.planner.layout import GroupedLayout

REFERENCES: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "hard_swish": F.hardswish,
    "hard_sigmoid": F.hardsigmoid,
}
RELATIVE = 3e-6  # to the largest output, float32 against float64
ROUNDING = {torch.float32: 0.0, torch.bfloat16: 2**-8}  # of each output, to the type of the tensor


@pytest.fixture(scope="module", autouse=True)
def ready() -> None:
    compiled_kernel()


def kernel(*arguments: object) -> Tensor:
    operator = grouped_block()
    assert operator is not None
    return operator(*arguments)


def layer(x: Tensor, layout: GroupedLayout, weight: Tensor, bias: Tensor, stride: tuple[int, int] = (1, 1)) -> Tensor:
    """A grouped layer by its definition: each filter reads the inputs of its group."""
    read = layout.read_order()
    width, rows = layout.group_width, []
    groups = [g for g in range(layout.groups) for _ in range(layout.filters_per_group)] + [*range(layout.extra_groups)]
    strided = x[:, :, :: stride[0], :: stride[1]]
    for row, group in enumerate(groups):
        inputs = strided[:, read[group * width : (group + 1) * width]]
        rows.append((inputs * weight[row, :, None, None]).sum(1) + bias[row])
    return torch.stack(rows, 1)


class Case:
    """A block with random weights, its reference in float64 and the arguments of the kernel."""

    def __init__(
        self,
        k: GroupedLayout,
        second: GroupedLayout | None = None,
        step: int = 1,
        acts: tuple[str, str] = ("identity", "identity"),
        sum: bool = True,
        stride: tuple[int, int] = (1, 1),
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.k, self.second, self.step, self.acts, self.sum, self.stride = k, second, step, acts, sum, stride
        weights = [self._weight(k), torch.randn(k.out_channels)]
        weights += [self._weight(second), torch.randn(k.out_channels)] if second else []
        self.weights = [weight.to(dtype) for weight in weights]

    @staticmethod
    def _weight(layout: GroupedLayout) -> Tensor:
        return torch.randn(layout.out_channels, layout.group_width)

    def arguments(self, x: Tensor) -> tuple[object, ...]:
        weights = [*self.weights, None, None][:4]
        groups = self.k.groups, self.second.groups if self.second else 1
        return (x, *weights, *groups, self.step, *(ACTIVATIONS[act] for act in self.acts), self.sum, *self.stride)

    def reference(self, x: Tensor) -> Tensor:
        weights = [weight.double() for weight in self.weights]
        k = REFERENCES[self.acts[0]](layer(x.double(), self.k, *weights[:2], self.stride))
        if self.second is None:
            return k
        mixed = k[:, interleave_order(self.k.out_channels, self.step)]
        found = REFERENCES[self.acts[1]](layer(mixed, self.second, *weights[2:]))
        return k + found if self.sum else found

    def check(self, x: Tensor) -> Tensor:
        found, wanted = kernel(*self.arguments(x)), self.reference(x)
        assert found.shape == wanted.shape
        assert found.dtype is x.dtype
        allowed = ROUNDING[x.dtype] * wanted.abs() + RELATIVE * wanted.abs().max().clamp_min(1e-3)
        assert ((found - wanted).abs() <= allowed).all()
        return found


def laid_out(x: Tensor, order: tuple[int, ...]) -> Tensor:
    """The same numbers, with dimensions in another order in memory."""
    back = sorted(range(4), key=order.__getitem__)
    return x.permute(order).contiguous().permute(back)


@settings(max_examples=60, deadline=None)
@given(
    channels=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    ch=st.integers(1, 33),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 11), st.integers(1, 19)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    order=st.permutations(range(4)),
    step=st.integers(1, 9),
    acts=st.tuples(st.sampled_from([*ACTIVATIONS]), st.sampled_from([*ACTIVATIONS])),
    has_l=st.booleans(),
    sum=st.booleans(),
    dtype=st.sampled_from([*ROUNDING]),
    seed=st.integers(0, 9999),
)
def test_blocks_are_those_of_float64(
    channels: tuple[int, int],
    ch: int,
    shape: tuple[int, int, int],
    stride: tuple[int, int],
    order: list[int],
    step: int,
    acts: tuple[str, str],
    has_l: bool,
    sum: bool,
    dtype: torch.dtype,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    k = GroupedLayout.of(*channels, ch=ch)
    second = GroupedLayout.of(channels[1], channels[1], ch=ch) if has_l else None
    assume(all(one is None or one.group_width <= one.in_channels for one in (k, second)))
    n, h, w = shape
    case = Case(k, second, step, acts, sum, stride, dtype)
    case.check(laid_out(torch.randn(n, channels[0], h, w).to(dtype), tuple(order)))


@pytest.mark.parametrize("size", [(1, 1), (7, 7), (14, 14), (1, 65), (5, 13)])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("dtype", ROUNDING)
def test_both_memory_formats_are_kept(size: tuple[int, int], batch: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layouts = GroupedLayout.of(50, 36, ch=16), GroupedLayout.of(36, 36, ch=16)
    case = Case(*layouts, 3, ("silu", "relu"), dtype=dtype)
    x = torch.randn(batch, 50, *size).to(dtype)
    assert case.check(x).is_contiguous()
    last = case.check(x.contiguous(memory_format=torch.channels_last))
    assert last.is_contiguous(memory_format=torch.channels_last)


def test_slices_and_expanded_inputs_and_empty_batches() -> None:
    torch.manual_seed(0)
    case = Case(GroupedLayout.of(20, 36, ch=8), GroupedLayout.of(36, 36, ch=8), 2)
    whole = torch.randn(4, 30, 9, 12)
    case.check(whole[1:3, 4:24, ::2, 3:])
    case.check(whole[:, :20].flip(3)[:, :, 1:])
    case.check(torch.randn(1, 20, 1, 1).expand(2, 20, 6, 5))
    assert kernel(*case.arguments(torch.empty(0, 20, 4, 4))).shape == (0, 36, 4, 4)


@pytest.mark.parametrize("act", REFERENCES)
def test_activations_treat_infinity_and_nan_as_torch_does(act: str) -> None:
    numbers = [float("inf"), -float("inf"), float("nan"), 3e38, -3e38, 200, -200, 89, -89, -87, 1e-30, -1e-30, 0, 7]
    x = torch.tensor([*numbers, *torch.linspace(-20, 20, 100).tolist()]).view(1, 1, 1, -1)
    one = GroupedLayout.of(1, 1, ch=1)
    case = Case(one, acts=(act, "identity"))
    case.weights = [torch.ones(1, 1), torch.zeros(1)]
    found = kernel(*case.arguments(x))
    wanted = REFERENCES[act](x)
    assert torch.isclose(found, wanted, rtol=1e-5, atol=1e-20, equal_nan=True).all()


def test_bfloat16_is_rounded_as_torch_does() -> None:
    """To the nearest, halfway to the even one; beyond the largest to infinity, and NaN stays."""
    near = torch.arange(0x3F80_0000, 0x3F84_0000, 0x1000, dtype=torch.int32).view(torch.float32)
    wanted = torch.cat([near, torch.tensor([3.4e38, float("inf"), float("nan"), 1e-40, 0.0])])
    wanted = torch.cat([wanted, -wanted])
    halves = wanted.to(torch.bfloat16)
    case = Case(GroupedLayout.of(2, 1, ch=2), dtype=torch.bfloat16)
    case.weights = [torch.ones(1, 2).to(torch.bfloat16), torch.zeros(1).to(torch.bfloat16)]
    rest = (wanted - halves.float()).nan_to_num(posinf=0, neginf=0).to(torch.bfloat16)  # 16 bits hold it exactly
    x = torch.stack([halves, rest])[None, :, None, :]
    found = kernel(*case.arguments(x))[0, 0, 0]
    assert torch.equal(found.isnan(), wanted.isnan())
    exact = (halves.float() + rest.float()).to(torch.bfloat16)
    assert torch.equal(found.nan_to_num(), exact.nan_to_num())


def test_what_is_not_finite_reaches_no_other_group_or_pixel() -> None:
    torch.manual_seed(0)
    k = GroupedLayout.of(32, 16, ch=16)
    assert k.groups == 2
    x = torch.randn(1, 32, 5, 5)
    x[0, 3, 2, 2], x[0, 3, 4, 4] = float("nan"), float("inf")
    for given_ in (x, x.contiguous(memory_format=torch.channels_last)):
        wrong = ~kernel(*Case(k).arguments(given_)).isfinite()
        assert wrong[0, :8, 2, 2].all()
        assert wrong[0, :8, 4, 4].all()
        assert wrong.sum() == 16


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 3, 1), (1, 0, 3, 2), (3, 2, 1, 0), (2, 0, 1, 3)])
def test_the_operator_is_registered_as_torch_wants_it(order: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layouts, dtype = (GroupedLayout.of(20, 36, ch=8), GroupedLayout.of(36, 36, ch=8)), [*ROUNDING][order[0] % 2]
    case = Case(*layouts, 2, ("silu", "silu"), stride=(2, 1), dtype=dtype)
    x = laid_out(torch.randn(2, 20, 5, 7), order).to(dtype)
    library.opcheck(grouped_block(), case.arguments(x))


def test_wrong_arguments_are_refused() -> None:
    case = Case(GroupedLayout.of(20, 36, ch=8))
    with pytest.raises(RuntimeError, match="groups read each input"):
        kernel(*case.arguments(torch.randn(1, 90, 2, 2)))
    with pytest.raises(RuntimeError, match="of float32 or bfloat16"):
        kernel(*case.arguments(torch.randn(1, 20, 2, 2, dtype=torch.float64)))
    arguments = [*case.arguments(torch.randn(1, 20, 2, 2))]
    arguments[8] = 99
    with pytest.raises(RuntimeError, match="no activation"):
        kernel(*arguments)
    with pytest.raises(RuntimeError, match="the type of the input"):
        kernel(*case.arguments(torch.randn(1, 20, 2, 2, dtype=torch.bfloat16)))


def test_the_kernel_for_gpus_and_this_one_are_operators_of_one_process() -> None:
    """Two definitions of one name would end the process."""
    pytest.importorskip("triton", reason="triton is not installed")
    from kswap.nn.kernels import operators

    assert operators is not None
    assert torch.ops.kswap.grouped_block.default is not grouped_block()
