"""The kernels on a real device: all dtypes, autotuning, compiling, exporting, and what is measured there."""

from __future__ import annotations

import copy
import importlib.util

import pytest
import torch
from fused_fixture import block_of, fused, results
from torch import Tensor, library, nn

import kswap
import kswap.nn.kernels.operators
from kswap.nn import GroupedBlock
from kswap.nn.fused_block import fused_layer, settings_of
from kswap.training.kinds import trainable
from kswap.training.optimize import optimize_for_training, quickest

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="there is no triton here"),
]
LAYERS = [
    (14, 10, 4, "v2"), (1152, 320, 16, "v2"), (192, 1152, 16, "v2"), (40, 33, 16, "v2"), (96, 20, 4, "v2"),
    (1024, 512, 16, "v1"), (30, 2, 4, "v2"),
]  # fmt: skip
# Of outputs and gradients of a few units; sums of many products in half precision differ by more.
CLOSE = {torch.float32: (1e-3, 1e-3), torch.float16: (2e-2, 5e-2), torch.bfloat16: (1e-1, 2e-1)}


def images(inputs: int, channels_last: bool = True, size: tuple[int, int, int] = (3, 7, 9)) -> Tensor:
    kind = torch.channels_last if channels_last else torch.contiguous_format
    n, height, width = size
    x = torch.randn(n, inputs, height, width, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    return x.contiguous(memory_format=kind)


def block(inputs: int, outputs: int, ch: int, scheme: str = "v2", **settings: object) -> GroupedBlock:
    found = block_of(inputs, outputs, ch, scheme, **settings)  # type: ignore[arg-type]
    assert found is not None
    return found


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", list(CLOSE))
@pytest.mark.parametrize(("inputs", "outputs", "ch", "scheme"), LAYERS)
def test_the_forward_pass_is_that_of_the_block(
    inputs: int, outputs: int, ch: int, scheme: str, dtype: torch.dtype, channels_last: bool
) -> None:
    wanted = block(inputs, outputs, ch, scheme, bias=True).eval()
    x, (rtol, atol) = images(inputs, channels_last), CLOSE[dtype]
    found = fused(wanted, dtype, "cuda")(x.to("cuda", dtype))
    assert found.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    torch.testing.assert_close(found.cpu().double(), wanted(x), rtol=rtol, atol=atol)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("inputs", "outputs", "ch", "scheme"), LAYERS)
def test_gradients_and_statistics_are_those_of_the_block(
    inputs: int, outputs: int, ch: int, scheme: str, dtype: torch.dtype, training: bool
) -> None:
    stock = block(inputs, outputs, ch, scheme).train(training)
    x = images(inputs)
    exact = results(copy.deepcopy(stock), x)
    quick = results(fused(stock, dtype, "cuda"), x.to("cuda", dtype))
    usual = results(copy.deepcopy(stock).to("cuda", dtype), x.to("cuda", dtype))
    for name, wanted in exact.items():  # no further from the truth than twice the stock operators, and some rounding
        scale = wanted.abs().max().clamp(min=1e-3)
        error, stocks = ((other[name] - wanted).abs().max() / scale for other in (quick, usual))
        assert error <= 2 * stocks + (1e-4 if dtype == torch.float32 else 3e-2), (name, error, stocks)


def test_more_pixels_than_one_split_of_the_weight_gradient() -> None:
    stock = block(24, 17, 9, norm=False)
    x = images(24, size=(5, 61, 67))
    wanted, found = results(stock, x), results(fused(stock, torch.float32, "cuda"), x.float().cuda())
    for name, value in wanted.items():
        torch.testing.assert_close(found[name] / value.abs().max(), value / value.abs().max(), rtol=1e-3, atol=1e-4)


def test_autocast_and_gradient_scaling() -> None:
    stock = block(53, 37, 8).float().cuda().train()
    quick = fused(stock, torch.float32, "cuda")
    x = images(53).float().cuda()
    with torch.autocast("cuda", torch.bfloat16):
        found, wanted = quick(x), stock(x)
    assert found.dtype == wanted.dtype == torch.bfloat16
    torch.testing.assert_close(found, wanted, rtol=0.1, atol=0.1)
    found.float().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in quick.parameters())


def test_linear_layers() -> None:
    stock = block(70, 50, 16, norm=False, activation="gelu", linear=True)
    x = torch.randn(2, 9, 70, dtype=torch.double)
    found = results(fused(stock, torch.float32, "cuda"), x.float().cuda())
    torch.testing.assert_close(found, results(stock, x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("training", [False, True])
def test_operators_are_sound(training: bool) -> None:
    """Compiling with fixed and with dynamic shapes is among these checks."""
    from kswap.nn.kernels import operators

    stock = block(14, 10, 4, bias=True).float().cuda().train(training)
    k, l = (fused_layer(stage) for stage in stock.fused_stages())  # noqa: E741
    operator = operators.grouped_block_batch_norm if training else operators.grouped_block
    for channels_last in (False, True):
        x = images(14, channels_last).float().cuda()
        arguments: list[object] = [x.requires_grad_()]
        for layer, norm in ((k, stock.k_norm), (l, stock.l_norm)):
            arguments += [layer.weight.detach().requires_grad_(), layer.bias.detach().requires_grad_()]  # type: ignore[union-attr]
            arguments += [norm.weight, norm.bias] if training else []  # type: ignore[union-attr]
        eps = (1e-5, 1e-5) if training else ()
        library.opcheck(operator, (*arguments, *settings_of(k, l, 2, True), *eps))


@pytest.mark.parametrize("training", [False, True])
def test_compiled_it_computes_the_same(training: bool) -> None:
    stock = block(40, 33, 16).train(training)
    quick = fused(stock, torch.float32, "cuda")
    compiled = torch.compile(copy.deepcopy(quick), fullgraph=True)
    x = images(40).float().cuda()
    wanted = results(quick, x)
    found = {name.replace("_orig_mod.", ""): value for name, value in results(compiled, x).items()}
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


def test_exported_it_is_one_operator() -> None:
    quick = fused(block(14, 10, 4).eval(), torch.float32, "cuda")
    x = images(14).float().cuda()
    exported = torch.export.export(quick, (x,))
    assert sum(node.target is torch.ops.kswap.grouped_block.default for node in exported.graph.nodes) == 1
    torch.testing.assert_close(exported.module()(x), quick(x))


def test_tuning_takes_one_of_several_sizes() -> None:
    from kswap.nn.kernels import launching

    quick = fused(block(64, 48, 16).eval(), torch.float32, "cuda")
    quick(images(64).float().cuda())
    assert len(launching._block_forward.cache) >= 1
    assert launching._block_forward.best_config in launching._block_forward.configs


def test_training_needs_less_memory() -> None:
    stock = block(160, 112, 16).float().cuda().train()
    x = torch.randn(16, 160, 28, 28, device="cuda", requires_grad=True)

    def kept(module: nn.Module) -> int:
        module(x).sum().backward()  # tuned, and cuDNN has its workspace
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        alive = module(x)
        return torch.cuda.memory_allocated() - before - alive.numel() * alive.element_size()

    assert kept(fused(stock, torch.float32, "cuda")) < kept(stock) / 3


def test_inference_measures_it() -> None:
    model = kswap.create_model("mobilenetv3_small_050", ch=16, num_classes=10).eval()
    x = torch.randn(2, 3, 64, 64)
    quick = kswap.optimize_for_inference(model, x, target="cuda")
    record = kswap.optimization_of(quick)
    assert any("grouped.triton" in layer.seconds for layer in record.layers)
    assert any("grouped.bmm" in layer.seconds for layer in record.layers)
    torch.testing.assert_close(quick.cuda()(x.cuda()).cpu(), model(x), rtol=1e-2, atol=1e-2)


def test_training_measures_it() -> None:
    stock = block(64, 48, 16).float().cuda().train()
    like = torch.empty(4, 64, 8, 8, device="cuda")
    tried = trainable(stock).variations[-1](trainable(stock).estimated)
    assert [str(one.id) for one in tried] == ["grouped.converted", "grouped.triton"]
    assert str(quickest(stock, like)).startswith("grouped.")
    model = nn.Sequential(stock)
    quick = optimize_for_training(model, torch.randn(4, 64, 8, 8, device="cuda"))
    assert all(a is b for a, b in zip(quick.parameters(), model.parameters(), strict=True))
