"""Chains in a recorded or traced run: which norm and activation follow a layer, where that is safe to say."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import fx, nn

from kswap.graph.observe import ModuleRecord, Observation
from kswap.nn.norms_and_activations import is_activation, is_norm, type_name
from kswap.nn.pointwise import channels_of, kind_of
from kswap.planner.sites import AbsorbedLayer

aten = torch.ops.aten

_RELU_FUNCTIONS = {F.relu, F.relu_, torch.relu, torch.relu_, aten.relu, aten.relu_}
_RELU_METHODS = {"relu", "relu_"}

# A gate is at most: squeeze, norm, activation, excite, norm, sigmoid, expand, multiply.
_GATE_DEPTH = 8
_MULTIPLY = {aten.mul, aten.mul_}
_ADD = {aten.add, aten.add_}

# What may stand between a classifier's convolution and the output of the model.
_HEAD_MODULES = ("Flatten", "Identity", "Dropout", "Dropout2d", "Softmax", "Sigmoid", "LogSoftmax", "Upsample")
_HEAD_FUNCTIONS = ("flatten", "squeeze", "view", "reshape", "getitem", "dropout", "interpolate", "softmax", "upsample")
_POOL_NAMES = ("pool", "mean")


def _reads_values(user: fx.Node) -> bool:
    """Whether a node needs more of its input than its shape, dtype or device."""
    if user.op == "call_function" and user.target is getattr:
        return user.args[1] not in ("shape", "ndim", "dtype", "device")
    return not (user.op == "call_method" and user.target in ("size", "dim"))


def users_of(node: fx.Node) -> list[fx.Node]:
    return [user for user in node.users if _reads_values(user)]


def _single_user(node: fx.Node) -> fx.Node | None:
    users = users_of(node)
    return users[0] if len(users) == 1 else None


def _name_of(node: fx.Node) -> str:
    if isinstance(node.target, str):
        return node.target
    return str(getattr(node.target, "__name__", node.target))


class Chains:
    """The graph of one run with its modules: follows conv -> norm -> activation as far as that is safe."""

    def __init__(self, model: nn.Module, graph: fx.Graph, observation: Observation) -> None:
        self.modules = dict(model.named_modules())
        self.observation = observation
        calls = [node for node in graph.nodes if node.op == "call_module"]
        self.calls = Counter(str(node.target) for node in calls)
        self.nodes = {str(node.target): node for node in calls}
        self.graph = graph

    def module(self, node: fx.Node | None) -> nn.Module | None:
        if node is None or node.op != "call_module":
            return None
        return self.modules.get(str(node.target))

    def after(self, node: fx.Node) -> fx.Node | None:
        """The only user of ``node``, past identities; ``None`` when there are several or none."""
        user = _single_user(node)
        while user is not None and isinstance(self.module(user), nn.Identity):
            user = _single_user(user)
        return user

    def why_not_free(self, name: str) -> str | None:
        """Why module ``name`` must not be changed as if nothing but its one call depended on it."""
        record = self.observation.records.get(name)
        if self.calls[name] > 1 or (record and record.calls > 1):
            return f"{name} is called several times"
        if name in self.observation.read_elsewhere:
            return f"the parameters of {name} are read elsewhere"
        if any(part._forward_hooks or part._forward_pre_hooks for part in self.modules[name].modules()):
            return f"{name} carries hooks"
        return None

    def why_not(self, name: str) -> str | None:
        """Why a norm or activation that was called as module ``name`` must not be moved into a block."""
        record = self.observation.records.get(name)
        if record and record.in_shape != record.out_shape:
            return f"{name} changes the shape"
        return self.why_not_free(name)

    def params(self, name: str) -> tuple[int, int]:
        parameters = list(self.modules[name].parameters())
        return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)

    def operations(self, name: str) -> int:
        return self.observation.records.get(name, ModuleRecord()).tally.operations

    def follow(self, name: str) -> tuple[AbsorbedLayer | None, AbsorbedLayer | None, str | None]:
        """Norm, activation, and where the chain broke early the reason."""
        node = self.nodes[name]
        following = self.after(node)
        if following is None:
            return None, None, "its output has several users" if len(users_of(node)) > 1 else None
        module = self.module(following)
        norm: AbsorbedLayer | None = None
        if module is not None and is_norm(module):
            norm_name = str(following.target)
            reason = self.why_not(norm_name) or self._why_other_dimension(name, norm_name)
            if reason:
                return None, None, reason
            norm, inner = self._norm(norm_name, module)
            if inner is not None:
                return norm, inner, None
            next_node = self.after(following)
            if next_node is None:
                return norm, None, None
            following, module = next_node, self.module(next_node)
        activation, reason = self._activation(following, module)
        return norm, activation, reason

    def _why_other_dimension(self, name: str, norm_name: str) -> str | None:
        """Why a norm does not belong to a linear layer: it has to work on the last dimension, or on a matrix."""
        if kind_of(self.modules[name]) != "linear":
            return None
        record = self.observation.records.get(norm_name, ModuleRecord())
        shape = getattr(self.modules[norm_name], "normalized_shape", None)
        fits = shape is not None and tuple(shape) == channels_of(self.modules[name])[1:]
        if fits or len(record.in_shape or ()) == 2:
            return None
        return f"{norm_name} does not normalise the channels of {name}"

    def _norm(self, name: str, module: nn.Module) -> tuple[AbsorbedLayer, AbsorbedLayer | None]:
        """A norm, and the activation inside it where it is one of timm's norms with activation."""
        params, trainable = self.params(name)
        act = getattr(module, "act", None)
        if not isinstance(act, nn.Module) or isinstance(act, nn.Identity):
            return AbsorbedLayer(name, type_name(module), params, trainable, self.operations(name)), None
        act_name = f"{name}.act"
        act_params, act_trainable = self.params(act_name)
        inner = AbsorbedLayer(act_name, type(act).__name__, act_params, act_trainable, self.operations(act_name))
        norm = AbsorbedLayer(
            name,
            type_name(module),
            params - act_params,
            trainable - act_trainable,
            self.operations(name) - inner.operations,
        )
        return norm, inner

    def _activation(self, node: fx.Node, module: nn.Module | None) -> tuple[AbsorbedLayer | None, str | None]:
        if module is not None and is_activation(module):
            name = str(node.target)
            reason = self.why_not(name)
            if reason is None:
                params, trainable = self.params(name)
                return AbsorbedLayer(name, type(module).__name__, params, trainable, self.operations(name)), None
            if type(module) is nn.ReLU:
                return AbsorbedLayer(name, "ReLU", stays=True), None
            return None, reason
        functional = node.op == "call_function" and node.target in _RELU_FUNCTIONS
        if functional or (node.op == "call_method" and node.target in _RELU_METHODS):
            return AbsorbedLayer("", "ReLU", stays=True), None
        return None, None

    def classifiers(self) -> frozenset[str]:
        """Pointwise layers that feed an output of the model through nothing but pooling and reshaping."""
        output = next(node for node in self.graph.nodes if node.op == "output")
        return frozenset(name for node in output.all_input_nodes for name in self._back(node))

    def gates(self, name: str) -> bool:
        """Whether the layer works on a 1x1 map that is later multiplied into another one."""
        record = self.observation.records[name]
        if record.outputs != record.calls * channels_of(self.modules[name])[1] or name not in self.nodes:
            return False
        front = [self.nodes[name]]
        for _ in range(_GATE_DEPTH):
            front = [user for node in front for user in node.users]
            if any(node.target in _MULTIPLY and len(node.all_input_nodes) == 2 for node in front):
                return True
        return False

    def reads_input(self, name: str) -> bool:
        """Whether nothing but one-to-one functions stands between the input of the model and the layer."""
        node: fx.Node | None = self.nodes.get(name)
        while node is not None and node.op != "placeholder":
            before = node.all_input_nodes
            node = before[0] if len(before) == 1 else None
            if node is not None and node.op == "call_module" and not isinstance(self.module(node), nn.Identity):
                return False
        return node is not None

    def _back(self, node: fx.Node, pooled: bool = False) -> Iterator[str]:
        module = self.module(node)
        name = type(module).__name__ if module is not None else _name_of(node).rpartition(".")[2]
        if module is not None and kind_of(module):
            yield str(node.target)
            return
        pools = any(word in name.lower() for word in _POOL_NAMES)
        reshapes = name in _HEAD_MODULES if module is not None else any(word in name for word in _HEAD_FUNCTIONS)
        relu = pooled and (isinstance(module, nn.ReLU) or name.startswith("relu"))
        is_getitem = node.target is operator.getitem
        if (pools or reshapes or relu or is_getitem) and len(node.all_input_nodes) == 1:
            yield from self._back(node.all_input_nodes[0], pooled or pools)
        if node.target in _ADD and len(node.all_input_nodes) > 1:  # several heads, summed
            branches = [tuple(self._back(source, pooled)) for source in node.all_input_nodes]
            yield from (head for branch in branches for head in branch if all(branches))
