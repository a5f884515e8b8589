"""One run of a model on a clone without weights: who feeds whom, shapes, MACs and operations.

Works for every model that runs, traceable or not. The run happens on the meta device where the model allows
it, so that it costs neither memory nor arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from kswap.graph.call import Call, Example, tensors_in
from kswap.graph.clone import full_clone, is_on_meta, meta_clone
from kswap.nn.grouped import GroupedPointwise
from kswap.nn.norms_and_activations import is_activation, is_norm
from kswap.nn.pointwise import GroupedLinear, kind_of
from kswap.planner.activations import ACTIVATIONS

aten = torch.ops.aten


@dataclass(frozen=True)
class Tally:
    """MACs, and operations (twice the computations) as the papers count them."""

    macs: int = 0
    operations: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.macs + other.macs, self.operations + other.operations)

    def __sub__(self, other: Tally) -> Tally:
        return Tally(self.macs - other.macs, self.operations - other.operations)


@dataclass
class ModuleRecord:
    """What one module did in the run, over all its calls; ``outputs`` counts the elements of its first output."""

    calls: int = 0
    outputs: int = 0
    tally: Tally = Tally()
    in_shape: tuple[int, ...] | None = None
    out_shape: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Observation:
    """The result of one run in eval mode at batch 1 (or at the batch of the example that was given).

    ``graph`` holds the run as it happened: modules without children as ``call_module`` nodes, all else as
    the operators that ran. ``read_elsewhere`` names the modules whose parameters were read outside of
    their own call. ``outputs`` are the shapes of the output, in the structure of the output. ``real`` says that
    the run needed real numbers: shapes may then depend on weights (a detector's number of boxes).
    """

    records: dict[str, ModuleRecord]
    total: Tally
    graph: fx.Graph
    outputs: Any
    read_elsewhere: frozenset[str]
    real: bool = False


def _numel(value: Any) -> int:
    return sum(tensor.numel() for tensor in tensors_in(value))


def _convolution(args: tuple[Any, ...], out: Tensor) -> Tally:
    weight, bias, transposed = args[1], args[2], args[6]
    positions = math.prod(args[0].shape[2:]) if transposed else math.prod(out.shape[2:])
    macs = weight.numel() * positions * out.shape[0]
    return Tally(macs, 2 * macs + (out.numel() if bias is not None else 0))


def _matmul(left: int, right: int, bias: bool) -> Callable[[tuple[Any, ...], Any], Tally]:
    def tally(args: tuple[Any, ...], out: Any) -> Tally:
        macs = args[left].numel() * args[right].shape[-1]
        return Tally(macs, 2 * macs + (out.numel() if bias else 0))

    return tally


def _attention(args: tuple[Any, ...], _: Any) -> Tally:
    query, key, value = args[:3]
    macs = query.numel() * key.shape[-2] + math.prod(query.shape[:-1]) * value.shape[-2] * value.shape[-1]
    return Tally(macs, 2 * macs + 5 * math.prod(query.shape[:-1]) * key.shape[-2])


def _per_output(count: int) -> Callable[[tuple[Any, ...], Any], Tally]:
    return lambda _args, out: Tally(0, count * _numel(out))


def _inputs(args: tuple[Any, ...], _: Any) -> Tally:
    return Tally(0, args[0].numel())


def _window(args: tuple[Any, ...], out: Any) -> Tally:
    kernel = args[1] if len(args[1]) > 1 else [args[1][0]] * 2
    first = out[0] if isinstance(out, tuple) else out
    return Tally(0, math.prod(kernel) * first.numel())


def _activation_operations() -> dict[Any, Callable[[tuple[Any, ...], Any], Tally]]:
    """The activations that cost something, and their in-place forms: ``aten.hardswish``, ``aten.hardswish_``."""
    return {
        getattr(aten, activation.name.replace("_", "") + suffix): _per_output(activation.operations)
        for activation in ACTIVATIONS.values()
        if activation.operations
        for suffix in ("", "_")
    }


# The papers' count, operator by operator. What is not here counts nothing: additions, norms, sigmoid, ReLU,
# concatenation, slices, padding.
OPERATIONS: dict[Any, Callable[[tuple[Any, ...], Any], Tally]] = {
    aten.convolution: _convolution,
    aten.mm: _matmul(0, 1, bias=False),
    aten.bmm: _matmul(0, 1, bias=False),
    aten.addmm: _matmul(1, 2, bias=True),
    aten.baddbmm: _matmul(1, 2, bias=False),
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention: _attention,
    aten._scaled_dot_product_efficient_attention: _attention,
    aten._scaled_dot_product_fused_attention_overrideable: _attention,
    aten.mul: _per_output(1),
    aten.mul_: _per_output(1),
    **_activation_operations(),
    aten._softmax: _per_output(5),
    aten._safe_softmax: _per_output(5),
    aten.mean: _inputs,
    aten._adaptive_avg_pool2d: _inputs,
    aten.avg_pool2d: _window,
    aten.max_pool2d_with_indices: _window,
}


def _with_bias(start: Tally, end: Tally, module: nn.Module, out: Tensor) -> Tally:
    """``end`` with the bias of a linear layer counted once, into which operators torch may have split it."""
    macs = (end - start).macs
    return start + Tally(macs, 2 * macs + (out.numel() if module.bias is not None else 0))


def _is_whole(module: nn.Module) -> bool:
    """Whether the recorded graph shows this module as one node."""
    if is_norm(module) or is_activation(module) or isinstance(module, GroupedPointwise) or kind_of(module):
        return True
    return not any(True for _ in module.children())


@dataclass
class _Recorder:
    """The state of one run. Lives only inside :func:`observe`."""

    names: dict[int, str]
    owners: dict[int, str]
    graph: fx.Graph = field(default_factory=fx.Graph)
    total: Tally = Tally()
    records: dict[str, ModuleRecord] = field(default_factory=dict)
    read_elsewhere: set[str] = field(default_factory=set)
    stack: list[tuple[str, Tally, bool]] = field(default_factory=list)
    producers: dict[int, fx.Node] = field(default_factory=dict)
    alive: list[Any] = field(default_factory=list)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Recorder:
        """A forward pass may copy a module, and with it the hooks that are bound to this recorder."""
        return self

    @property
    def inside_whole(self) -> bool:
        return any(whole for _, _, whole in self.stack)

    def _node_of(self, value: Any) -> Any:
        return self.producers.get(id(value)) if isinstance(value, Tensor) else None

    def _sources(self, values: Any) -> tuple[fx.Node, ...]:
        nodes = [self._node_of(value) for value in tree_flatten(values)[0]]
        return tuple(node for node in nodes if node is not None)

    def _produced(self, values: Any, node: fx.Node) -> None:
        for value in tree_flatten(values)[0]:
            if isinstance(value, Tensor):
                self.alive.append(value)
                self.producers[id(value)] = node

    def placeholder(self, values: tuple[Any, ...]) -> None:
        for index, value in enumerate(values):
            self._produced(value, self.graph.placeholder(f"input_{index}"))

    def finish(self, output: Any) -> None:
        self.graph.output(self._sources(output))

    def operator(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        packet = func.overloadpacket
        if packet in OPERATIONS:
            self.total = self.total + OPERATIONS[packet](args, out)
        calling = {name for name, _, _ in self.stack}
        for value in tree_flatten((args, kwargs))[0]:
            owner = self.owners.get(id(value)) if isinstance(value, Tensor) else None
            if owner is not None and owner not in calling:
                self.read_elsewhere.add(owner)
        if not self.inside_whole:
            sources = self._sources((args, kwargs))
            self._produced(out, self.graph.call_function(packet, sources))

    def enter(self, module: nn.Module, _args: Any) -> None:
        name = self.names.get(id(module))
        if name is not None:
            self.stack.append((name, self.total, _is_whole(module)))

    def leave(self, module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        name = self.names.get(id(module))
        if name is None:
            return
        _, start, whole = self.stack.pop()
        if type(module).forward in (nn.Linear.forward, GroupedLinear.forward):
            self.total = _with_bias(start, self.total, module, out)
        record = self.records.setdefault(name, ModuleRecord())
        record.calls += 1
        record.tally = record.tally + (self.total - start)
        first_in, first_out = next(iter(tensors_in(args)), None), next(iter(tensors_in(out)), None)
        record.in_shape = tuple(first_in.shape) if first_in is not None else None
        if first_out is not None:
            record.out_shape = tuple(first_out.shape)
            record.outputs += first_out.numel()
        if whole and not self.inside_whole:
            sources = self._sources((args, kwargs))
            self._produced(out, self.graph.create_node("call_module", name, sources))


class _Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.recorder.operator(func, args, kwargs or {}, out)
        return out


@contextmanager
def _hooked(model: nn.Module, recorder: _Recorder) -> Iterator[None]:
    handles = []
    for module in model.modules():
        handles.append(module.register_forward_pre_hook(recorder.enter, prepend=True))
        handles.append(module.register_forward_hook(recorder.leave, with_kwargs=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _run(clone: nn.Module, call: Call) -> Observation:
    names = {id(module): name for name, module in clone.named_modules() if name}
    owners = {id(tensor): name for name, module in clone.named_modules() for tensor in module.parameters(recurse=False)}
    recorder = _Recorder(names, owners)
    recorder.placeholder((*call.args, *call.kwargs.values()))
    with torch.no_grad(), _hooked(clone, recorder), _Mode(recorder):
        output = call.on(clone)
    recorder.finish(output)
    return Observation(
        records=recorder.records,
        total=recorder.total,
        graph=recorder.graph,
        outputs=output_shapes(output),
        read_elsewhere=frozenset(recorder.read_elsewhere),
    )


def is_shape(value: object) -> bool:
    """Whether ``value`` is the shape of a tensor in what :func:`output_shapes` returns."""
    return type(value) is tuple and all(type(n) is int for n in value)


def output_shapes(output: Any) -> Any:
    """The output with every tensor replaced by its shape, and what is no plain value by the name of its class."""

    def shape(value: Any) -> Any:
        if isinstance(value, Tensor):
            return tuple(value.shape)
        return value if value is None or isinstance(value, bool | int | float | str) else type(value).__name__

    return tree_map(shape, output)


def observe(model: nn.Module, inputs: Call | Example) -> Observation:
    """Run a clone of ``model`` on ``inputs`` (any device) and record it. Leaves ``model`` unchanged.

    On the meta device first; a model whose forward needs real numbers is run once more on the CPU. Raises
    whatever the model raises when it does not accept the inputs.
    """
    call = Call.of(inputs)
    try:
        return _run(meta_clone(model), call.to("meta"))
    except Exception:
        real = real_clone(model)
        if real is None:
            raise
    return replace(_run(real, call.to("cpu")), real=True)


def real_clone(model: nn.Module) -> nn.Module | None:
    """A deep copy on the CPU in eval mode, or ``None`` for a model on the meta device."""
    return None if is_on_meta(model) else full_clone(model).cpu().eval()
