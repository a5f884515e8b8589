"""torch.fx over the real forward of a model, on a clone without weights."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

from kswap.errors import KswapError, first_line
from kswap.graph.call import Call
from kswap.graph.clone import full_clone, meta_clone
from kswap.graph.device import device_of
from kswap.nn.grouped import GroupedPointwise
from kswap.nn.indices import IndexBuffers
from kswap.nn.norms_and_activations import is_activation, is_norm
from kswap.nn.pointwise import kind_of

MODE = "kswap_training_mode"

_LOCK = threading.RLock()


class TraceError(KswapError):
    """torch.fx cannot trace this model."""


class TrainingMode(nn.Module):
    """Returns the ``training`` flag of a layer of the graph, so that the graph follows ``.train()`` and
    ``.eval()``, called on the graph or on the model that shares the layer."""

    layer: nn.Module

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        object.__setattr__(self, "layer", layer)  # seen, but not a child

    def forward(self) -> bool:
        return self.layer.training


@dataclass(frozen=True)
class Trace:
    """The graph of a forward pass, or the reason why there is none.

    ``specialised`` says that the model branches on ``self.training``: the graph holds the branch of eval mode.
    ``constants`` are tensors that the forward pass makes by itself and the graph reads.
    """

    graph: fx.Graph | None
    error: str | None = None
    specialised: bool = False
    constants: dict[str, torch.Tensor] = field(default_factory=dict)


def _reads_training(kind: type[nn.Module]) -> bool:
    """Whether a method of this class reads ``self.training``."""
    for base in kind.__mro__:
        if base is nn.Module:
            return False
        for value in vars(base).values():
            if inspect.isfunction(value) and value.__name__ != "train" and "training" in value.__code__.co_names:
                return True
    return False


def _holds_layers(module: nn.Module) -> bool:
    return any(isinstance(m, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear) for m in module.modules())


class ModelTracer(fx.Tracer):
    """Keeps whole what must not be taken apart: pointwise layers of every class, norms, activations, drop-path
    and other modules that behave differently in training, the layers of kswap, and what timm registers as not
    traceable.

    Elsewhere ``self.training`` becomes a node of the graph.
    """

    def __init__(self, call: Call) -> None:
        from timm.layers import get_notrace_functions, get_notrace_modules

        super().__init__(autowrap_functions=tuple(get_notrace_functions()))
        self._call = call
        self._notrace = tuple(get_notrace_modules())
        self._mode: fx.Proxy | None = None
        self._thread = threading.get_ident()
        self.specialised = False

    def trace(self, root: Any, concrete_args: dict[str, Any] | None = None) -> fx.Graph:
        """As :meth:`torch.fx.Tracer.trace`, one thread at a time.

        torch.fx patches ``nn.Module.__call__`` of the whole process while it traces. Calls from other threads pass
        through to their modules.
        """
        with _LOCK:
            self._thread = threading.get_ident()
            return super().trace(root, concrete_args)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, (*self._notrace, GroupedPointwise, IndexBuffers)) or kind_of(m):
            return True
        if is_norm(m) or is_activation(m) or super().is_leaf_module(m, module_qualified_name):
            return True
        return _reads_training(type(m)) and not _holds_layers(m)

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> Any:
        """One placeholder for each argument of the call, by the names of ``forward``; parameters that the call does
        not give keep their defaults. What is no tensor is a constant of the graph."""
        names = _argument_names(root_fn, len(self._call.args))
        args = [self._placeholder(name, value) for name, value in zip(names, self._call.args, strict=True)]
        kwargs = {name: self._placeholder(name, value) for name, value in self._call.kwargs.items()}
        self._mode = self.create_proxy("call_module", MODE, (), {})
        for name, module in self.root.named_modules():
            if name == "" or not self.is_leaf_module(module, name):
                module.training = self._mode
        return lambda root: root_fn(root, *args, **kwargs), [self.root]

    def _placeholder(self, name: str, value: Any) -> Any:
        return _as_proxies(self.create_proxy("placeholder", name, (), {}), value)

    def to_bool(self, obj: fx.Proxy) -> bool:
        if self._mode is not None and obj.node is self._mode.node:
            self.specialised = True
            return False
        return bool(super().to_bool(obj))


def _argument_names(forward: Callable[..., Any], count: int) -> list[str]:
    """Names of the first ``count`` positional parameters of ``forward``, which has ``self`` as its first."""
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found = [p.name for p in list(inspect.signature(forward).parameters.values())[1:] if p.kind in plain][:count]
    return [*found, *(f"input_{number}" for number in range(len(found), count))]


def _as_proxies(proxy: Any, value: Any) -> Any:
    """``value`` with each of its tensors exchanged for the part of ``proxy`` that stands for it."""
    if isinstance(value, torch.Tensor):
        return proxy
    if isinstance(value, dict):
        return {key: _as_proxies(proxy[key], item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        items = [_as_proxies(proxy[number], item) for number, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    return value


def trace(model: nn.Module, call: Call, with_weights: bool = False) -> Trace:
    """The graph of ``model`` for ``call``, of which only the structure counts. Leaves ``model`` unchanged.

    It is traced on a clone without weights, or on a full copy ``with_weights``.
    """
    clone = full_clone(model).eval() if with_weights else meta_clone(model)
    tracer = ModelTracer(call)
    try:
        graph = tracer.trace(clone)
    except Exception as error:
        return Trace(None, error=f"{type(error).__name__}: {first_line(error).split('. ')[0]}")
    for node in graph.nodes:
        if node.op == "call_module" and node.target == MODE and not node.users:
            graph.erase_node(node)
            break
    constants = {name: value for name, value in vars(clone).items() if name.startswith("_tensor_constant")}
    return Trace(graph, specialised=tracer.specialised, constants=constants)


def _move_devices_(graph: fx.Graph, device: torch.device) -> None:
    """Devices that were read off the clone without weights become that of the model, in place."""

    def moved(value: Any) -> Any:
        return device if isinstance(value, torch.device) and value.type == "meta" else value

    for node in graph.nodes:
        node.args = fx.node.map_aggregate(node.args, moved)
        node.kwargs = fx.node.map_aggregate(node.kwargs, moved)


def _attribute(model: nn.Module, target: str, constants: dict[str, torch.Tensor]) -> Any:
    if target in constants:
        return constants[target]
    value: Any = model
    for part in target.split("."):
        value = getattr(value, part)
    return value


def graph_module(model: nn.Module, call: Call) -> fx.GraphModule:
    """The traced graph of ``model`` over the same modules and parameters, in the same modes, for calls like ``call``.

    Raises :class:`TraceError` when torch.fx cannot trace it.
    """
    traced = trace(model, call)
    if any(constant.is_meta for constant in traced.constants.values()):
        traced = trace(model, call, with_weights=True)  # the forward pass makes tensors on the model's device
    if traced.graph is None:
        raise TraceError(f"torch.fx cannot trace this {type(model).__name__}: {traced.error}")
    nodes = [node for node in traced.graph.nodes if node.op in ("call_module", "get_attr")]
    targets = {n.target: _attribute(model, n.target, traced.constants) for n in nodes if n.target != MODE}
    if any(node.target == MODE for node in nodes):
        layers = [value for value in targets.values() if isinstance(value, nn.Module)]
        targets[MODE] = TrainingMode(next((m for m in layers if _holds_layers(m)), model))
    _move_devices_(traced.graph, device_of(model))
    module = fx.GraphModule(targets, traced.graph, class_name=type(model).__name__)
    module.graph.lint()
    own = set(model.modules())
    for part in module.modules():
        if part not in own:  # the modules of the model keep their own modes
            part.training = model.training
    return module
