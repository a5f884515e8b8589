"""Finding the sites: every pointwise convolution, what follows it, and why it may have to stay."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.utils import parametrize

from kswap.graph.observe import ModuleRecord, Observation
from kswap.nn.kinds import is_activation, is_norm, type_name
from kswap.sites import Follower, Site

aten = torch.ops.aten

_RELU_FUNCTIONS = {F.relu, F.relu_, torch.relu, torch.relu_, aten.relu, aten.relu_}
_RELU_METHODS = {"relu", "relu_"}

# A gate is at most: squeeze, norm, activation, excite, norm, sigmoid, expand, multiply.
_GATE_DEPTH = 8
_MULTIPLY = {aten.mul, aten.mul_}

# What may stand between a classifier's convolution and the output of the model.
_HEAD_MODULES = ("Flatten", "Identity", "Dropout", "Dropout2d", "Softmax", "Sigmoid", "LogSoftmax", "Upsample")
_HEAD_FUNCTIONS = ("flatten", "squeeze", "view", "reshape", "getitem", "dropout", "interpolate", "softmax", "upsample")
_POOL_NAMES = ("pool", "mean")


def is_pointwise(module: nn.Module) -> bool:
    """Whether ``module`` is a dense 1x1 convolution."""
    return isinstance(module, nn.Conv2d) and tuple(module.kernel_size) == (1, 1) and module.groups == 1


def _structural_reason(conv: nn.Conv2d) -> str | None:
    """Why the convolution itself cannot be replaced, whatever the channels."""
    kind = type(conv)
    if parametrize.is_parametrized(conv):
        return "its weight is parametrized: remove the parametrization first"
    if conv._forward_hooks or conv._forward_pre_hooks or conv._backward_hooks:
        return "it carries hooks that a replacement would lose"
    if conv.padding not in ((0, 0), "same", "valid"):
        return f"padded by {conv.padding}: a pointwise convolution has no border"
    own_forward = kind.forward is not nn.Conv2d.forward or kind._conv_forward is not nn.Conv2d._conv_forward
    if own_forward and not (kind.__name__ == "Conv2dSame" and tuple(conv.stride) == (1, 1)):
        return f"{kind.__name__} computes its output in its own way, not as Conv2d does"
    return None


def _single_user(node: fx.Node) -> fx.Node | None:
    users = list(node.users)
    return users[0] if len(users) == 1 else None


def _name_of(node: fx.Node) -> str:
    if isinstance(node.target, str):
        return node.target
    return str(getattr(node.target, "__name__", node.target))


class _Chains:
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

    def why_not(self, name: str) -> str | None:
        """Why a norm or activation that was called as module ``name`` must not be moved into a block."""
        record = self.observation.records.get(name)
        if self.calls[name] > 1 or (record and record.calls > 1):
            return f"{name} is called several times"
        if name in self.observation.read_elsewhere:
            return f"the parameters of {name} are read elsewhere"
        if record and record.in_shape != record.out_shape:
            return f"{name} changes the shape"
        return None

    def params(self, name: str) -> tuple[int, int]:
        parameters = list(self.modules[name].parameters())
        return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)

    def operations(self, name: str) -> int:
        return self.observation.records.get(name, ModuleRecord()).tally.operations

    def follow(self, name: str) -> tuple[Follower | None, Follower | None, str | None]:
        """Norm, activation, and where the chain broke early the reason."""
        node = self.nodes[name]
        following = self.after(node)
        if following is None:
            return None, None, "its output has several users" if len(node.users) > 1 else None
        module = self.module(following)
        norm: Follower | None = None
        if module is not None and is_norm(module):
            norm_name = str(following.target)
            reason = self.why_not(norm_name)
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

    def _norm(self, name: str, module: nn.Module) -> tuple[Follower, Follower | None]:
        """A norm, and the activation inside it where it is one of timm's norms with activation."""
        params, trainable = self.params(name)
        act = getattr(module, "act", None)
        if not isinstance(act, nn.Module) or isinstance(act, nn.Identity):
            return Follower(name, type_name(module), params, trainable, self.operations(name)), None
        act_name = f"{name}.act"
        act_params, act_trainable = self.params(act_name)
        inner = Follower(act_name, type(act).__name__, act_params, act_trainable, self.operations(act_name))
        norm = Follower(
            name,
            type_name(module),
            params - act_params,
            trainable - act_trainable,
            self.operations(name) - inner.operations,
        )
        return norm, inner

    def _activation(self, node: fx.Node, module: nn.Module | None) -> tuple[Follower | None, str | None]:
        if module is not None and is_activation(module):
            name = str(node.target)
            reason = self.why_not(name)
            if reason is None:
                params, trainable = self.params(name)
                return Follower(name, type(module).__name__, params, trainable, self.operations(name)), None
            if type(module) is nn.ReLU:
                return Follower(name, "ReLU", stays=True), None
            return None, reason
        functional = node.op == "call_function" and node.target in _RELU_FUNCTIONS
        if functional or (node.op == "call_method" and node.target in _RELU_METHODS):
            return Follower("", "ReLU", stays=True), None
        return None, None

    def classifiers(self) -> frozenset[str]:
        """Convolutions that feed an output of the model through nothing but pooling and reshaping."""
        output = next(node for node in self.graph.nodes if node.op == "output")
        return frozenset(name for node in output.all_input_nodes for name in self._back(node))

    def gates(self, name: str) -> bool:
        """Whether the convolution works on a 1x1 map that is later multiplied into another one."""
        record = self.observation.records[name]
        if record.positions != record.calls or name not in self.nodes:
            return False
        front = [self.nodes[name]]
        for _ in range(_GATE_DEPTH):
            front = [user for node in front for user in node.users]
            if any(node.target in _MULTIPLY and len(node.all_input_nodes) == 2 for node in front):
                return True
        return False

    def _back(self, node: fx.Node, pooled: bool = False) -> Iterator[str]:
        module = self.module(node)
        name = type(module).__name__ if module is not None else _name_of(node).rpartition(".")[2]
        if module is not None and is_pointwise(module):
            yield str(node.target)
            return
        pools = any(word in name.lower() for word in _POOL_NAMES)
        reshapes = name in _HEAD_MODULES if module is not None else any(word in name for word in _HEAD_FUNCTIONS)
        relu = pooled and (isinstance(module, nn.ReLU) or name.startswith("relu"))
        is_getitem = node.target is operator.getitem
        if (pools or reshapes or relu or is_getitem) and len(node.all_input_nodes) == 1:
            yield from self._back(node.all_input_nodes[0], pooled or pools)


def declared_classifiers(model: nn.Module) -> frozenset[str] | None:
    """Names of the classifier modules that a timm model declares, or ``None`` for other models."""
    getter = getattr(model, "get_classifier", None)
    if not callable(getter):
        return None
    declared = getter()
    heads = declared if isinstance(declared, list | tuple) else [declared]
    ids = {id(part) for head in heads if isinstance(head, nn.Module) for part in head.modules()}
    return frozenset(name for name, module in model.named_modules() if id(module) in ids)


def _role(conv: nn.Conv2d, activation: Follower | None, is_classifier: bool, gates: bool) -> str:
    if is_classifier:
        return "classifier"
    if gates:
        return "squeeze-excite"
    if conv.out_channels > conv.in_channels:
        return "expansion"
    return "pointwise" if activation else "projection"


def find_sites(model: nn.Module, graph: fx.Graph | None, observation: Observation) -> tuple[Site, ...]:
    """All pointwise convolutions of ``model``, in the order of its modules.

    ``graph`` is the torch.fx graph, or ``None`` where there is none; what it does not show (inside modules
    that fx does not look into) is followed in the graph that ``observation`` recorded.
    """
    recorded = _Chains(model, observation.graph, observation)
    traced = _Chains(model, graph, observation) if graph is not None else recorded
    declared = declared_classifiers(model)
    why_kept = "the classifier is never replaced"
    if declared is None:
        why_kept = "it makes the model's output: the classifier is never replaced"
    classifiers = recorded.classifiers() if declared is None else declared
    sites = []
    for name, module in model.named_modules():
        if not is_pointwise(module) or not isinstance(module, nn.Conv2d):
            continue
        record = observation.records.get(name, ModuleRecord())
        keep = _structural_reason(module)
        if name in classifiers:
            keep = why_kept
        elif name in observation.read_elsewhere:
            keep = "its weight is read elsewhere in the model"
        elif record.calls == 0:
            keep = "not called in the forward pass"
        norm = activation = broken = None
        if keep is None:
            chains = traced if name in traced.nodes else recorded
            if record.calls > 1 or chains.calls[name] > 1:
                broken = f"called {max(record.calls, chains.calls[name])} times"
            elif name in chains.nodes:
                norm, activation, broken = chains.follow(name)
        sites.append(
            Site(
                name=name,
                in_channels=module.in_channels,
                out_channels=module.out_channels,
                stride=max(module.stride),
                bias=module.bias is not None,
                trainable=module.weight.requires_grad,
                type=type(module).__name__,
                role=_role(module, activation, name in classifiers, record.calls > 0 and recorded.gates(name)),
                positions=record.positions,
                calls=record.calls,
                norm=norm,
                activation=activation,
                keep=keep,
                broken=broken,
            )
        )
    return tuple(sites)
