"""The kernels in Triton: what they compute under its interpreter, and that they compile for GPUs that are not here."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import library

from kswap.planner import plan_layer

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="there is no triton here: it is made for Linux only"
)
INTERPRETED = Path(__file__).with_name("triton_interpreted.py")


@pytest.mark.parametrize("examples", [4, pytest.param(60, marks=pytest.mark.slow)])
def test_they_compute_what_the_blocks_compute(examples: int) -> None:
    """Triton decides on import whether it interprets: hence another process."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(INTERPRETED)]
    env = {**os.environ, "TRITON_INTERPRET": "1", "TRITON_EXAMPLES": str(examples), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=INTERPRETED.parents[2], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[100%]" in done.stdout


TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16"}


@pytest.mark.parametrize(
    ("inputs", "outputs", "ch", "dtype", "capability"),
    [
        (24, 17, 9, torch.bfloat16, 90),
        pytest.param(14, 10, 4, torch.float32, 80, marks=pytest.mark.slow),
        pytest.param(1152, 320, 16, torch.bfloat16, 90, marks=pytest.mark.slow),
        pytest.param(192, 1152, 16, torch.float16, 75, marks=pytest.mark.slow),
    ],
)
def test_they_compile_for_gpus(
    inputs: int,
    outputs: int,
    ch: int,
    dtype: torch.dtype,
    capability: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from kswap.nn.kernels import launching

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    calls: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []

    class Recorded:
        def __init__(self, tuned: Any) -> None:
            self.kernel, self.sizes = tuned.fn, tuned.configs[-1].kwargs

        def __getitem__(self, grid: Any) -> Any:
            return lambda *given, **named: calls.append((self.kernel, given, {**named, **self.sizes}))

    monkeypatch.setattr(library, "wrap_triton", Recorded)
    plan = plan_layer(inputs, outputs, ch)
    x, y = torch.zeros(1, inputs, 4, 4, dtype=dtype), torch.zeros(1, outputs, 4, 4, dtype=dtype)
    weight, vector = torch.zeros(outputs, plan.k.group_width, dtype=dtype), torch.zeros(outputs)
    scale = torch.zeros(inputs), torch.zeros(inputs)
    if plan.l is not None:
        second = torch.zeros(outputs, plan.l.group_width, dtype=dtype)
        step = plan.interleave_step or 1
        launching.whole_block(x, plan.k, weight, vector, "gelu", plan.l, second, vector, "silu", step, True)
    launching.one_layer(x, plan.k, weight, vector, "silu", 3, "hard_swish", scale)
    launching.gradient_of_input(y, plan.k, weight, 3)
    launching.gradient_of_weight(y, x, plan.k, 3, "silu", scale)
    assert len(calls) == 3 + (plan.l is not None)
    for kernel, given, named in calls:
        names = [parameter.name for parameter in kernel.params]
        passed = dict(zip(names, given, strict=False))
        signature = {name: TYPES[one.dtype] if isinstance(one, torch.Tensor) else "i32" for name, one in passed.items()}
        constants = {name: named[name] for name in names[len(given) :]}
        source = ASTSource(kernel, {**signature, **dict.fromkeys(constants, "constexpr")}, constants)
        assert triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"]


def test_compilers_see_the_kernels_themselves() -> None:
    """In graphs of tensors without numbers on a GPU that is not there: one forward, and six for a backward pass."""
    from torch._subclasses import FakeTensorMode
    from torch._subclasses.functional_tensor import dispatch_functionalize
    from torch.fx.experimental.proxy_tensor import make_fx

    from kswap.nn.fused_block import FusedLayer, settings_of
    from kswap.nn.kernels.operators import grouped_block, grouped_block_backward

    plan = plan_layer(14, 10, 4)
    assert plan.k is not None
    assert plan.l is not None
    with FakeTensorMode():
        x, y = (torch.empty(2, channels, 4, 4, device="cuda") for channels in (14, 10))
        k, l = (torch.empty(10, layout.group_width, device="cuda") for layout in (plan.k, plan.l))  # noqa: E741
        layers = FusedLayer(plan.k, k, None, "silu"), FusedLayer(plan.l, l, None, "silu")
        rest = settings_of(*layers, plan.interleave_step or 1, True)

        def forward(x: torch.Tensor, y: torch.Tensor, k: torch.Tensor, l: torch.Tensor) -> Any:  # noqa: E741
            return grouped_block(x, k, None, l, None, *rest)

        def backward(x: torch.Tensor, y: torch.Tensor, k: torch.Tensor, l: torch.Tensor) -> Any:  # noqa: E741
            return grouped_block_backward(y, x, k, None, [], l, None, [], *rest)

        for function, count in ((forward, 1), (backward, 6)):
            graph = make_fx(dispatch_functionalize(function))(x, y, k, l).graph
            assert sum("triton_kernel_wrapper" in str(node.target) for node in graph.nodes) == count
