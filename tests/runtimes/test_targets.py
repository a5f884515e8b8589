"""Every runtime gives the outputs of PyTorch, and says in one line what it cannot do."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

import kswap
from kswap.benchmarks.steps import chosen_targets
from kswap.errors import DeployError
from kswap.runtimes import onnx_graph as graphs
from kswap.runtimes.formats import FORMATS
from kswap.runtimes.onnx_graph import onnx_graph, operators_of, pool_means_
from kswap.runtimes.targets import TARGETS, check_target, find_target, prepare

HERE = [target for target in TARGETS if target != "cuda"]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
EVERYWHERE = [*HERE, pytest.param("cuda", marks=[pytest.mark.cuda, needs_cuda])]
ON_ONNX = ("onnxruntime", "openvino")


class Pooled(nn.Module):
    """A squeeze in the middle, and two outputs by name."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.gate = nn.Conv2d(16, 16, 1)
        self.head = nn.Conv2d(16, 8, 1, groups=4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = torch.relu(self.norm(self.stem(x)))
        y = y * torch.sigmoid(self.gate(y.mean((2, 3), keepdim=True)))
        return {"map": self.head(y), "mean": y.mean((2, 3))}


class Sum(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, list[Tensor]]:
        return a + b, [a * b]


def bottleneck() -> nn.Module:
    return nn.Sequential(nn.Conv2d(24, 24, 1, groups=3), nn.SiLU(), nn.Conv2d(24, 24, 1)).eval()


def assert_same(found: list[Tensor], expected: list[Tensor]) -> None:
    assert [tuple(a.shape) for a in found] == [tuple(b.shape) for b in expected]
    for a, b in zip(found, expected, strict=True):
        assert a.device.type == "cpu"
        assert float((a - b).abs().max()) <= 1e-4 * float(b.abs().max())


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("target", EVERYWHERE)
def test_every_target_gives_the_outputs_of_pytorch(target: str, quick: bool) -> None:
    torch.manual_seed(0)
    model = Pooled().eval()
    x = torch.randn(2, 3, 9, 7)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    ready = prepare(model, (x,), target, threads=1, quick=quick)
    ready.run()
    with torch.no_grad():
        assert_same(ready.outputs(), list(model(x).values()))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert model.stem.weight.is_contiguous()


@pytest.mark.parametrize("target", ["eager", *ON_ONNX])
def test_a_converted_network_gives_the_same_in_every_runtime(target: str) -> None:
    model = kswap.create_model("mobilenetv3_small_050", ch=16, seed=0, num_classes=10).eval()
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert_same(prepare(model, (x,), target, threads=1, quick=True).outputs(), [model(x)])


@pytest.mark.parametrize("target", ["eager", *ON_ONNX, "executorch"])
def test_several_inputs_and_nested_outputs_keep_their_order(target: str) -> None:
    a, b = torch.randn(2, 3), torch.randn(2, 3)
    assert_same(prepare(Sum().eval(), (a, b), target, threads=1).outputs(), [a + b, a * b])


@pytest.mark.parametrize("target", ["eager", *ON_ONNX, "executorch"])
def test_a_model_in_training_mode_is_run_in_eval_mode_and_stays_in_training(target: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.9)).train()
    x = torch.randn(1, 3, 4, 4)
    found = prepare(model, (x,), target, threads=1, quick=True).outputs()
    assert all(module.training for module in model.modules())
    assert int(model[1].num_batches_tracked) == 0
    with torch.no_grad():
        assert_same(found, [model.eval()(x)])


def test_inductor_freezes_weights_and_keeps_many_models_apart() -> None:
    """torch.compile would give up after eight models with the same code, and run them as they are."""
    x = torch.randn(1, 24, 6, 6)
    models = [bottleneck() for _ in range(10)]
    ready = [prepare(model, (x,), "inductor", threads=1, quick=True) for model in models]
    for model, one in zip(models, ready, strict=True):
        with torch.no_grad():
            assert_same(one.outputs(), [model(x)])
    with torch.profiler.profile() as profile:
        ready[-1].run()
    names = {event.key for event in profile.key_averages()}
    assert any(name.startswith("mkldnn::_convolution_pointwise") for name in names)
    assert "aten::convolution" not in names


def test_threads_are_those_that_were_asked_for() -> None:
    seen: list[int] = []

    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(torch.get_num_threads())
            return x

    before = torch.get_num_threads()
    ready = prepare(Counting(), (torch.zeros(1),), "eager", threads=before + 2)
    with find_target("eager").settings(before + 2):
        ready.run()
    assert seen == [before + 2]
    assert torch.get_num_threads() == before


def test_passes_of_executorch_outlive_the_pool_of_threads_that_they_were_loaded_with() -> None:
    """The runtime keeps a pointer to that pool, which another number of threads frees."""
    from executorch.extension.pybindings.portable_lib import _threadpool_get_thread_count as threads

    x = torch.randn(1, 24, 5, 5)
    model = bottleneck()
    before = threads()
    ready = prepare(model, (x,), "executorch", threads=before + 1)
    assert threads() == before
    for count in (1, before + 2, None):
        with find_target("executorch").settings(count):
            assert threads() == (count or before)
            with torch.no_grad():
                assert_same(ready.outputs(), [model(x)])


def test_an_executorch_that_fails_says_which_versions_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    from executorch.runtime import Method

    def fails(self: Method, inputs: Any) -> Any:
        raise RuntimeError("tensor does not have a device\nand where")

    monkeypatch.setattr(Method, "execute", fails)
    with pytest.raises(DeployError, match=r"does not have a device\): .* 1\.2 goes with torch 2\.11") as error:
        prepare(bottleneck(), (torch.zeros(1, 24, 4, 4),), "executorch")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("target", TARGETS)
def test_settings_of_the_process_come_back(target: str) -> None:
    before = (torch.get_num_threads(), torch.backends.cudnn.benchmark)
    with find_target(target).settings(before[0] + 1):
        pass
    assert (torch.get_num_threads(), torch.backends.cudnn.benchmark) == before
    with pytest.raises(ValueError, match="on purpose"), find_target(target).settings(before[0] + 1):
        raise ValueError("on purpose")
    assert (torch.get_num_threads(), torch.backends.cudnn.benchmark) == before


@pytest.mark.parametrize("target", EVERYWHERE)
def test_preparing_leaves_the_settings_of_the_process(target: str) -> None:
    before = (torch.get_num_threads(), torch.backends.cudnn.benchmark)
    prepare(bottleneck(), (torch.zeros(1, 24, 4, 4),), target, threads=before[0] + 1, quick=True)
    assert (torch.get_num_threads(), torch.backends.cudnn.benchmark) == before


def test_cudnn_searches_for_kernels_while_cuda_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    with find_target("cuda").settings(None):
        assert torch.backends.cudnn.benchmark
    assert not torch.backends.cudnn.benchmark


def test_the_registries_are_listed_without_torch() -> None:
    code = (
        "import sys; from kswap.runtimes.targets import TARGETS; from kswap.runtimes.formats import FORMATS;"
        "print(*TARGETS, *FORMATS); assert not {'torch', 'onnx', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [*TARGETS, *FORMATS]


def test_a_new_target_needs_nothing_but_its_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What asks for targets finds it: checks, preparation, and the choice of the benchmark."""
    twin = replace(find_target("eager"), name="twin", is_eager=False)
    monkeypatch.setitem(TARGETS, "twin", twin)
    assert check_target("twin") is twin
    x = torch.randn(1, 24, 4, 4)
    model = bottleneck()
    with torch.no_grad():
        assert_same(prepare(model, (x,), "twin").outputs(), [model(x)])
    assert "twin" in chosen_targets(["all"], torch.device("cpu"))
    monkeypatch.setitem(TARGETS, "twin", replace(twin, obstacle=lambda: "the twin is away"))
    with pytest.raises(DeployError, match="the twin is away"):
        prepare(model, (x,), "twin")


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder) -> None:
    for quick in (True, False):
        for target in HERE:
            prepare(bottleneck(), (torch.zeros(1, 24, 5, 5),), target, threads=1, quick=quick).run()
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err == ""
    assert [str(warning.message) for warning in recwarn] == []


def test_unknown_targets_are_refused_with_a_hint() -> None:
    with pytest.raises(DeployError, match="unknown target 'onnxrt'; did you mean onnxruntime"):
        check_target("onnxrt")
    with pytest.raises(DeployError, match="unknown target 'abacus': use one of eager, inductor"):
        prepare(bottleneck(), (torch.zeros(1, 24, 4, 4),), "abacus")


@pytest.mark.parametrize(
    ("target", "package", "extra"),
    [
        ("onnxruntime", "onnxruntime", "export"),
        ("onnxruntime", "onnxscript", "export"),
        ("openvino", "openvino", "openvino"),
        ("openvino", "onnx", "export"),
        ("executorch", "executorch", "executorch"),
    ],
)
def test_a_missing_package_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, target: str, package: str, extra: str
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else found(name))
    with pytest.raises(DeployError) as error:
        check_target(target)
    assert str(error.value) == f"{target} needs {package}: pip install 'kswap[{extra}]'"


def test_cuda_and_inductor_say_what_they_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeployError, match="no CUDA device here: use another target"):
        check_target("cuda")
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(DeployError, match=r"needs a C\+\+ compiler"):
        check_target("inductor")


@pytest.mark.parametrize("target", ["inductor", *ON_ONNX, "executorch"])
def test_a_model_that_a_runtime_cannot_take_is_one_sentence(target: str) -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("no such thing\nand much more")

    with pytest.raises(DeployError, match=r"cannot take this Broken .*no such thing") as error:
        prepare(Broken().eval(), (torch.zeros(1),), target)
    assert "\n" not in str(error.value)


def test_half_precision_and_too_many_bytes_are_refused_for_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.zeros(1, 24, 4, 4)
    with pytest.raises(DeployError, match="bfloat16, and runtimes on the CPU want float32"):
        onnx_graph(bottleneck().bfloat16(), (x.bfloat16(),))
    monkeypatch.setattr(graphs, "_MOST_BYTES", 1000)
    with pytest.raises(DeployError, match="one ONNX file holds 2 GiB"):
        onnx_graph(bottleneck(), (x,))


@pytest.mark.parametrize("quick", [True, False])
def test_the_graph_has_names_fixed_shapes_pooling_and_no_paths(quick: bool) -> None:
    graph = onnx_graph(Pooled().eval(), (torch.zeros(2, 3, 8, 8),), quick=quick)
    assert [value.name for value in graph.graph.input] == ["input"]
    assert [value.name for value in graph.graph.output] == ["map", "mean"]
    for value in (*graph.graph.input, *graph.graph.output):
        assert all(dim.HasField("dim_value") for dim in value.type.tensor_type.shape.dim)
    # The mean that keeps its dimensions is pooled, the other one is not.
    operators = operators_of(graph)
    assert operators.count("GlobalAveragePool") == 1
    assert operators.count("ReduceMean") == 1
    assert b".py" not in graph.SerializeToString()


def test_both_exporters_write_the_same_operators() -> None:
    x = torch.zeros(1, 24, 4, 4)
    assert operators_of(onnx_graph(bottleneck(), (x,), quick=True)) == operators_of(onnx_graph(bottleneck(), (x,)))


def reduced(shape: list[int], axes: list[int], keepdims: int, as_node: bool = False) -> tuple[onnx.ModelProto, Any]:
    """A graph of one ReduceMean, and what it gives for 0, 1, 2, ..."""
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    mean = x.mean(tuple(axes), keepdims=bool(keepdims))
    value = helper.make_tensor("axes", TensorProto.INT64, [len(axes)], axes)
    nodes = [helper.make_node("Constant", [], ["axes"], value=value)] if as_node else []
    nodes += [helper.make_node("Relu", ["x"], ["y"])]
    nodes += [helper.make_node("ReduceMean", ["y", "axes"], ["z"], keepdims=keepdims)]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, list(mean.shape))],
        [] if as_node else [value],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), (x, mean)


@pytest.mark.parametrize(
    ("shape", "axes", "keepdims", "pooled"),
    [
        ([2, 3, 4, 5], [2, 3], 1, True),
        ([2, 3, 4, 5], [-1, -2], 1, True),
        ([2, 3, 4, 5], [2, 3], 0, False),
        ([2, 3, 4, 5], [1, 2], 1, False),
        ([2, 3, 4, 5], [3], 1, False),
        ([2, 3, 4, 5], [1, 2, 3], 1, False),
        ([2, 3, 4], [-1, -2], 1, False),
        ([2, 3, 4, 5, 6], [2, 3], 1, False),
    ],
)
@pytest.mark.parametrize("as_node", [True, False])
def test_only_means_over_height_and_width_become_pooling(
    shape: list[int], axes: list[int], keepdims: int, pooled: bool, as_node: bool
) -> None:
    import onnxruntime

    graph, (x, mean) = reduced(shape, axes, keepdims, as_node)
    assert pool_means_(graph) == int(pooled)
    assert operators_of(graph) == ["Relu", "GlobalAveragePool" if pooled else "ReduceMean"]
    onnx.checker.check_model(graph)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x})[0], mean, rtol=1e-6)


@pytest.mark.parametrize("target", ["eager", "onnxruntime", "openvino"])
def test_a_batch_in_slices_gives_the_same(target: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    x, other = torch.randn(6, 3, 9, 9), torch.randn(6, 3, 9, 9)
    prepared = prepare(model, (x,), target, threads=1, slices=3)
    prepared.run()
    torch.testing.assert_close(prepared.outputs()[0], model(x).detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(prepared.on((other,)).outputs()[0], model(other).detach(), rtol=1e-5, atol=1e-6)
