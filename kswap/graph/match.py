"""Finding the sites: every pointwise layer, what follows it, and why it may have to stay."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Collection, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from kswap.graph.attention import attention_roles
from kswap.graph.observe import ModuleRecord, Observation
from kswap.nn.kinds import is_activation, is_norm, type_name
from kswap.nn.pointwise import (
    channels_of,
    fewest_inputs,
    filter_params,
    kind_of,
    stride_of,
    why_not_replaced,
)
from kswap.sites import Follower, Site

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


def is_pointwise(module: nn.Module) -> bool:
    """Whether ``module`` is a dense 1x1 convolution on a map."""
    return kind_of(module) == "conv"


def _reads_values(user: fx.Node) -> bool:
    """Whether a node needs more of its input than its shape, dtype or device."""
    if user.op == "call_function" and user.target is getattr:
        return user.args[1] not in ("shape", "ndim", "dtype", "device")
    return not (user.op == "call_method" and user.target in ("size", "dim"))


def _users(node: fx.Node) -> list[fx.Node]:
    return [user for user in node.users if _reads_values(user)]


def _single_user(node: fx.Node) -> fx.Node | None:
    users = _users(node)
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
        if any(part._forward_hooks or part._forward_pre_hooks for part in self.modules[name].modules()):
            return f"{name} carries hooks"
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
            return None, None, "its output has several users" if len(_users(node)) > 1 else None
        module = self.module(following)
        norm: Follower | None = None
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
        record = self.observation.records.get(norm_name, ModuleRecord())
        shape = getattr(self.modules[norm_name], "normalized_shape", None)
        fits = shape is not None and tuple(shape) == channels_of(self.modules[name])[1:]
        if kind_of(self.modules[name]) != "linear" or fits or len(record.in_shape or ()) == 2:
            return None
        return f"{norm_name} does not normalise the channels of {name}"

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


def declared_classifiers(model: nn.Module) -> frozenset[str] | None:
    """Names of the classifier modules that a timm model declares, or ``None`` for other models."""
    getter = getattr(model, "get_classifier", None)
    if not callable(getter):
        return None
    declared = getter()
    heads = declared if isinstance(declared, list | tuple) else [declared]
    ids = {id(part) for head in heads if isinstance(head, nn.Module) for part in head.modules()}
    return frozenset(name for name, module in model.named_modules() if id(module) in ids)


def _mixes_channels(module: nn.Module) -> bool:
    """Whether ``module`` is a linear layer, or a convolution that is not depthwise."""
    if isinstance(module, nn.modules.conv._ConvNd):
        return module.groups < module.in_channels or module.in_channels == 1
    return kind_of(module) is not None


# Layers of torchvision's detectors that make scores, boxes and masks.
_PREDICTORS = ("cls_logits", "bbox_pred", "bbox_reg", "bbox_ctrness", "mask_fcn_logits", "kps_score_lowres")


def _predictions(model: nn.Module) -> frozenset[str]:
    """The layers of a torchvision detector that make its scores, boxes and masks."""
    found = set()
    for name, module in model.named_modules():
        if not type(module).__module__.startswith("torchvision.models.detection."):
            continue
        found |= {f"{name}.{child}" for child, _ in module.named_children() if child in _PREDICTORS}
        scoring = getattr(module, "module_list", None)  # SSD: one head for each map, its last layer predicts
        if isinstance(scoring, nn.ModuleList):
            lasts = [[key for key, _ in head.named_modules()][-1] for head in scoring]
            found |= {f"{name}.module_list.{i}.{last}".rstrip(".") for i, last in enumerate(lasts)}
    return frozenset(found)


class _Places:
    """What is special about the place of a layer in its model, whatever the layer."""

    def __init__(self, model: nn.Module, recorded: _Chains) -> None:
        declared = declared_classifiers(model)
        self.recorded = recorded
        self.classifiers = recorded.classifiers() if declared is None else declared
        self.why_classifier = "the classifier is never replaced"
        if declared is None:
            self.why_classifier = "it makes the model's output: the classifier is never replaced"
        modules = recorded.modules
        layers = {name for name, m in modules.items() if _mixes_channels(m)}
        self.predictions = _predictions(model)
        self.attention = attention_roles(
            recorded.graph,
            layers,
            softmaxes={name for name, m in modules.items() if isinstance(m, nn.Softmax)},
        )
        self.holders: dict[int, list[str]] = {}
        for name, module in modules.items():
            for parameter in module._parameters.values():
                if parameter is not None:
                    self.holders.setdefault(id(parameter), []).append(name)

    def keep(self, name: str, module: nn.Module, record: ModuleRecord) -> str | None:
        """Why the layer must stay, in any case."""
        parent = self.recorded.modules.get(name.rpartition(".")[0])
        others = {other for p in module.parameters(recurse=False) for other in self.holders[id(p)]} - {name}
        if name in self.classifiers:
            return self.why_classifier
        if name in self.predictions:
            return "it makes a detector's predictions: such a classifier is never replaced"
        if others:
            return f"its weight is tied to that of {', '.join(sorted(others))}"
        if name in self.recorded.observation.read_elsewhere:
            return "its weight is read elsewhere in the model"
        if isinstance(parent, nn.TransformerEncoderLayer):
            return "its weight is read elsewhere: by the fast path of torch's TransformerEncoderLayer"
        if record.calls == 0:
            return "not called in the forward pass"
        return why_not_replaced(module)

    def on_request(self, name: str, module: nn.Module) -> str | None:
        """Why a linear layer stays unless a rule names it."""
        if kind_of(module) != "linear":
            return None
        role = self.attention.get(name)
        if role == "fused-qkv":
            return "fused qkv: one layer makes several of queries, keys and values; a rule can ask for it"
        if role == "attention":
            return "attention projection; a rule can ask for it"
        if self.recorded.reads_input(name):
            return "it embeds the model's input; a rule can ask for it"
        return None

    def role(self, name: str, module: nn.Module, record: ModuleRecord, activation: Follower | None) -> str:
        """One of :data:`kswap.sites.ROLES`."""
        in_channels, out_channels = channels_of(module)
        if name in self.classifiers or name in self.predictions:
            return "classifier"
        if kind_of(module) == "linear" and name in self.attention:
            return self.attention[name]
        if record.calls > 0 and self.recorded.gates(name):
            return "squeeze-excite"
        if out_channels > in_channels:
            return "expansion"
        return "pointwise" if activation else "projection"


def find_sites(
    model: nn.Module, graph: fx.Graph | None, observation: Observation, kinds: Collection[str] = ("conv",)
) -> tuple[Site, ...]:
    """All pointwise layers of these ``kinds`` in ``model``, in the order of its modules.

    ``graph`` is the torch.fx graph, or ``None`` where there is none; what it does not show (inside modules
    that fx does not look into) is followed in the graph that ``observation`` recorded.
    """
    recorded = _Chains(model, observation.graph, observation)
    traced = _Chains(model, graph, observation) if graph is not None else recorded
    places = _Places(model, recorded)
    sites = []
    for name, module in model.named_modules():
        if kind_of(module) not in kinds:
            continue
        in_channels, out_channels = channels_of(module)
        weight = module.weight
        assert isinstance(weight, Tensor)
        record = observation.records.get(name, ModuleRecord())
        keep = places.keep(name, module, record)
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
                in_channels=in_channels,
                out_channels=out_channels,
                stride=max(stride_of(module), default=1),
                bias=module.bias is not None,
                trainable=weight.requires_grad,
                type=type(module).__name__,
                role=places.role(name, module, record, activation),
                positions=record.outputs // out_channels,
                calls=record.calls,
                norm=norm,
                activation=activation,
                keep=keep,
                broken=broken,
                filter_params=filter_params(module),
                fewest_inputs=fewest_inputs(module),
                on_request=places.on_request(name, module) if keep is None else None,
            )
        )
    return tuple(sites)
