"""The native kernel as one more implementation of a block: chosen, recorded, loaded, and left out where it is not."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from native_fixture import compiled_kernel
from torch import Tensor, nn

import kswap
from kswap.cli.main import main
from kswap.errors import DeployError
from kswap.inference.kinds import candidates_of
from kswap.inference.native_block import NativeBlock
from kswap.inference.optimize import optimize_for_inference
from kswap.inference.record import optimization_of
from kswap.inference.store import load_optimized, read_optimizations
from kswap.native import operator
from kswap.nn import GroupedBlock
from kswap.nn.implementation import ImplementationId
from kswap.planner import plan_layer

NATIVE = ImplementationId.of("grouped", "native")
NO_KERNEL = "without the native kernel"


@pytest.fixture(scope="module", autouse=True)
def ready() -> None:
    compiled_kernel()


@pytest.fixture
def without_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in a new process on a machine without a compiler."""
    monkeypatch.setattr(operator, "_loaded", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("CXX", "no-such-compiler")


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    model = kswap.create_model("test_efficientnet", ch=16, num_classes=10).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model


@pytest.fixture(scope="module")
def example() -> Tensor:
    return torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def chosen(model: nn.Module, example: Tensor) -> dict[str, ImplementationId]:
    """The native form for each block that has one."""
    plain = optimization_of(optimize_for_inference(model, example, autotune=False)).implementations
    blocks = {name: module for name, module in model.named_modules() if name in plain}
    has = {name: any(one.id == NATIVE for one in candidates_of(blocks[name], True).implementations) for name in blocks}
    assert any(has.values())
    return {name: NATIVE if has[name] else id_ for name, id_ in plain.items()}


def natives(model: nn.Module) -> list[NativeBlock]:
    return [module for module in model.modules() if isinstance(module, NativeBlock)]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """One entry for each call of the kernel."""
    found, kernel = list[int](), operator.grouped_block()

    def counted(*arguments: object) -> Tensor:
        found.append(1)
        assert kernel is not None
        return kernel(*arguments)

    monkeypatch.setattr(operator, "_loaded", counted)
    return found


def test_outputs_stay_in_both_memory_formats(
    model: nn.Module, example: Tensor, chosen: dict[str, ImplementationId], calls: list[int]
) -> None:
    quick = optimize_for_inference(model, example, implementations=chosen)
    assert optimization_of(quick).implementations == chosen
    assert len(natives(quick)) == [*chosen.values()].count(NATIVE)
    calls.clear()
    with torch.no_grad():
        for x in (example, example.contiguous(memory_format=torch.channels_last)):
            torch.testing.assert_close(quick(x), model(x), rtol=1e-4, atol=1e-5)
    assert len(calls) == 2 * len(natives(quick))


def test_bfloat16_runs_in_the_kernel_too_and_loses_less_than_stock_operators(
    model: nn.Module, example: Tensor, chosen: dict[str, ImplementationId], calls: list[int]
) -> None:
    halves, x = copy.deepcopy(model).bfloat16(), example.bfloat16()
    quick = optimize_for_inference(halves, x, implementations=chosen)
    calls.clear()
    with torch.no_grad():
        wanted, stock, found = model(example), halves(x).float(), quick(x).float()
    assert len(calls) == len(natives(quick))
    assert (found - wanted).abs().mean() <= 1.1 * (stock - wanted).abs().mean()


@pytest.mark.usefixtures("few_rounds")
def test_it_is_measured_only_where_it_is_asked_for(model: nn.Module, example: Tensor) -> None:
    stock = optimization_of(optimize_for_inference(model, example))
    assert not any("grouped.native" in layer.seconds for layer in stock.layers)
    mine = optimization_of(optimize_for_inference(model, example, native=True))
    assert any("grouped.native" in layer.seconds for layer in mine.layers)
    assert mine.error < 1e-4


def test_who_sees_operators_gets_stock_ones(
    model: nn.Module, example: Tensor, chosen: dict[str, ImplementationId], calls: list[int]
) -> None:
    quick = optimize_for_inference(model, example, implementations=chosen)
    with torch.no_grad():
        wanted = model(example)
        calls.clear()
        torch.testing.assert_close(quick.double()(example.double()).float(), wanted, rtol=1e-4, atol=1e-5)
        quick.float()
        program = torch.export.export(quick, (example,))
        assert not any("kswap" in str(node.target) for node in program.graph.nodes)
        traced = torch.jit.trace(quick, example, check_trace=False)
        assert "kswap::" not in str(traced.inlined_graph)
        torch.testing.assert_close(traced(example), wanted, rtol=1e-4, atol=1e-5)
    x = example.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(quick(x).square().sum(), x)
    y = example.clone().requires_grad_()
    (expected,) = torch.autograd.grad(model(y).square().sum(), y)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-4)
    assert not calls


def test_a_copy_and_a_pickle_run(model: nn.Module, example: Tensor, chosen: dict[str, ImplementationId]) -> None:
    quick = optimize_for_inference(model, example, implementations=chosen)
    file = io.BytesIO()
    torch.save(quick, file)
    file.seek(0)
    with torch.no_grad():
        wanted = quick(example)
        assert torch.equal(copy.deepcopy(quick)(example), wanted)
        assert torch.equal(torch.load(file, weights_only=False)(example), wanted)


def test_the_command_records_it_and_another_machine_goes_without(
    tmp_path: Path, model: nn.Module, example: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    kswap.convert("test_efficientnet", ch=16, num_classes=10, input_size=(3, 48, 48)).save(tmp_path / "saved")
    monkeypatch.setattr("kswap.nn.implementation._MACS_PER_NUMBER", 0)  # by arithmetic alone the kernel is the best
    done = CliRunner().invoke(main, ["optimize", str(tmp_path / "saved"), "--native", "--no-autotune"])
    assert done.exit_code == 0, done.output
    record = read_optimizations(tmp_path / "saved")["eager"]
    assert NATIVE in record.implementations.values()
    quick = load_optimized(tmp_path / "saved")
    with torch.no_grad():
        wanted = quick(example)
    monkeypatch.setattr(operator, "_loaded", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    with pytest.warns(UserWarning, match=NO_KERNEL) as warned:
        stock = load_optimized(tmp_path / "saved")
    assert len([one for one in warned if NO_KERNEL in str(one.message)]) == 1
    assert "\n" not in str(warned[0].message)
    assert not natives(stock)
    with torch.no_grad():
        torch.testing.assert_close(stock(example), wanted, rtol=1e-4, atol=1e-5)
        # What was built before runs on too.
        torch.testing.assert_close(quick(example), wanted, rtol=1e-4, atol=1e-5)
    assert not (tmp_path / "empty").exists()


@pytest.mark.usefixtures("without_kernel")
def test_without_a_compiler_it_is_left_out_with_one_line(tmp_path: Path, model: nn.Module, example: Tensor) -> None:
    with pytest.warns(UserWarning, match=r"without the native kernel: no C\+\+ compiler"):
        quick = optimize_for_inference(model, example, native=True, autotune=False)
    assert not natives(quick)
    kswap.convert("test_efficientnet", ch=16, num_classes=10, input_size=(3, 48, 48)).save(tmp_path / "saved")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        done = CliRunner().invoke(main, ["optimize", str(tmp_path / "saved"), "--native", "--no-autotune"])
    assert done.exit_code == 0, done.output
    lines = [line for line in done.stderr.splitlines() if "no C++ compiler" in line]
    assert len(lines) == 1


def test_other_targets_and_other_blocks_have_none(model: nn.Module, example: Tensor) -> None:
    with pytest.raises(DeployError, match="runs in eager, not in inductor: leave out native"):
        optimize_for_inference(model, example, target="inductor", native=True, autotune=False)
    for activation in (nn.GELU(), nn.PReLU(40)):
        block = GroupedBlock(plan_layer(64, 40, ch=16), nn.BatchNorm2d(40), activation).eval()
        assert NATIVE not in [one.id for one in candidates_of(block, native=True).implementations]
    block = GroupedBlock(plan_layer(64, 40, ch=16), replaces=nn.Linear(64, 40)).eval()
    assert NATIVE not in [one.id for one in candidates_of(block, native=True).implementations]
