"""The hidden channels of a network: what lies between an expansion and its projection, found on the traced graph.

From the layer that makes the channels the walk goes on through what works on each channel by itself (norms,
activations, depthwise convolutions, pooling, the product with a gate) to the layers that read them. Channels are
offered where every path is understood; otherwise there is a reason.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import fx, nn

from kswap.errors import PlanError, excerpt, nearest
from kswap.graph.conv_norm_act import Chains, users_of
from kswap.graph.narrow import inputs_of, is_depthwise, is_narrowed_norm, outputs_of
from kswap.graph.observe import Observation
from kswap.graph.tracer import MODE
from kswap.nn.norms_and_activations import is_activation, is_norm
from kswap.nn.pointwise import kind_of
from kswap.planner.narrowing import HiddenChannels, Narrowing

# Calls that work on each element by itself, and dropout.
_ELEMENTWISE_FUNCTIONS = {
    F.dropout,
    F.dropout2d,
    F.elu,
    F.gelu,
    F.hardsigmoid,
    F.hardswish,
    F.hardtanh,
    F.leaky_relu,
    F.mish,
    F.relu,
    F.relu6,
    F.sigmoid,
    F.silu,
    F.softplus,
    F.tanh,
    torch.relu,
    torch.relu_,
    torch.sigmoid,
    torch.tanh,
}
_ELEMENTWISE_METHODS = {"clamp", "clone", "contiguous", "relu", "relu_", "sigmoid", "sigmoid_", "tanh", "tanh_"}
_ELEMENTWISE_MODULES = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_PRODUCTS = {operator.mul, operator.imul, torch.mul}
_PRODUCT_METHODS = {"mul", "mul_", "expand_as"}


@dataclass(frozen=True)
class FoundChannels:
    """``offered`` hidden channels in the order of the modules; ``refused`` says why, by the layer that makes them."""

    offered: tuple[HiddenChannels, ...]
    refused: Mapping[str, str]

    def narrowings(self, asked: float | Mapping[str, int] | None) -> tuple[Narrowing, ...]:
        """What a caller asks for.

        Args:
            asked: the share of all hidden channels that stays, in multiples of 8; or how many stay by the name of
                the layer that makes them; or ``None`` for no narrowing.

        Raises :class:`PlanError` where nothing can become narrower.
        """
        if asked is None:
            return ()
        if not isinstance(asked, Mapping):
            return self._by_share(asked)
        known = {hidden.expansion: hidden for hidden in self.offered}
        for name in asked:
            if name in self.refused:
                raise PlanError(f"the outputs of '{excerpt(name)}' cannot become fewer: {self.refused[name]}")
            if name not in known:
                hint = nearest(name, known)
                raise PlanError(f"narrow names '{excerpt(name)}', which makes no hidden channels{hint}")
        return tuple(Narrowing(known[name], channels) for name, channels in asked.items())

    def _by_share(self, share: float) -> tuple[Narrowing, ...]:
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
            raise PlanError(f"narrow must be a share between 0 and 1 or channels by name, not {share!r:.60}")
        made = tuple(Narrowing(hidden, width) for hidden in self.offered for width in hidden.widths((share,)))
        if not made:
            name, reason = next(iter(self.refused.items()), ("", ""))
            first = f"; the first layer, {name}: {reason}" if name and not self.offered else ""
            raise PlanError(f"this network has no hidden channels that can become fewer{first}")
        return made


def find_hidden_channels(model: nn.Module, graph: fx.Graph | None, observation: Observation) -> FoundChannels:
    """The hidden channels of ``model`` that can become fewer, found on its traced ``graph``; none without a graph.

    The outputs of the first layer of a network are none, and those of a bottleneck neither.

    >>> from kswap.graph.call import Call
    >>> from kswap.graph.observe import observe
    >>> from kswap.graph.tracer import trace
    >>> depthwise = nn.Conv2d(64, 64, 3, groups=64)
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 64, 1), depthwise, nn.ReLU(), nn.Conv2d(64, 8, 1))
    >>> call = Call((torch.zeros(1, 3, 8, 8),))
    >>> find_hidden_channels(model, trace(model, call).graph, observe(model, call)).offered
    (HiddenChannels(expansion='1', projection='4', width=64, along=('2',), squeezes=(), excites=()),)
    """
    if graph is None:
        return FoundChannels((), {})
    chains = Chains(model, graph, observation)
    tied = _tied(model)
    offered, refused = [], {}
    for name, module in model.named_modules():
        if name not in chains.nodes or not (isinstance(module, nn.modules.conv._ConvNd) or kind_of(module)):
            continue
        if chains.reads_input(name) or is_depthwise(module):
            continue
        try:
            offered.append(_Walk(chains, tied).hidden_channels(chains.nodes[name]))
        except _NotUnderstoodError as reason:
            refused[name] = str(reason)
    return FoundChannels(tuple(offered), refused)


def _tied(model: nn.Module) -> frozenset[str]:
    """The modules with a parameter that another module holds too."""
    held = [(name, id(p)) for name, m in model.named_modules() for p in m._parameters.values() if p is not None]
    holders = Counter(key for _, key in held)
    return frozenset(name for name, key in held if holders[key] > 1)


class _NotUnderstoodError(Exception):
    """Why the channels of a layer are not offered."""


@dataclass
class _Walk:
    """From one layer to all that hold its output channels. Lives only inside :func:`find_hidden_channels`."""

    chains: Chains
    tied: frozenset[str]
    width: int = 0
    rows: bool = False  # channels are in the last dimension, as linear layers have them, not in the second
    held: dict[fx.Node, None] = field(default_factory=dict)
    readers: dict[fx.Node, None] = field(default_factory=dict)
    makers: dict[fx.Node, None] = field(default_factory=dict)
    along: list[str] = field(default_factory=list)

    def hidden_channels(self, start: fx.Node) -> HiddenChannels:
        """Raises :class:`_NotUnderstoodError`."""
        module = self._module(start)
        self.width = outputs_of(module) or 0
        self.rows = kind_of(module) == "linear"
        self._make(start)
        front = 0
        while front < len(self.held):
            node = list(self.held)[front]
            for user in users_of(node):
                self._follow(node, user)
            front += 1
        gates = {before for maker in list(self.makers)[1:] for before in _before(maker)}
        squeezes = [node for node in self.readers if node in gates]
        others = [node for node in self.readers if node not in gates]
        if len(others) != 1:
            names = ", ".join(str(node.target) for node in others)
            raise _NotUnderstoodError(f"its channels are read by {names}" if names else "no layer reads its channels")
        if kind_of(self._module(others[0])) is None:
            raise _NotUnderstoodError(f"its channels are read by {others[0].target}, which is not pointwise")
        ends = inputs_of(module), outputs_of(self._module(others[0]))
        if all(end is not None and end > self.width for end in ends):
            raise _NotUnderstoodError(f"its {self.width} outputs are a bottleneck already")
        return HiddenChannels(
            str(start.target),
            str(others[0].target),
            self.width,
            along=tuple(self.along),
            squeezes=tuple(str(node.target) for node in squeezes),
            excites=tuple(str(node.target) for node in list(self.makers)[1:]),
        )

    def _module(self, node: fx.Node) -> nn.Module:
        module = self.chains.module(node)
        return module if module is not None else nn.Module()

    def _free(self, node: fx.Node) -> None:
        name = str(node.target)
        reason = f"the parameters of {name} are shared" if name in self.tied else self.chains.why_not_free(name)
        if reason:
            raise _NotUnderstoodError(reason)

    def _make(self, node: fx.Node) -> None:
        if outputs_of(self._module(node)) != self.width:
            raise _NotUnderstoodError(f"{_shown(node)} is not a plain layer with {self.width} outputs")
        self._free(node)
        self.makers[node] = self.held[node] = None

    def _follow(self, node: fx.Node, user: fx.Node) -> None:
        """``user`` reads ``node``, which holds the channels."""
        if user in self.held:
            return
        if self._is_reader(user):
            self._free(user)
            self.readers[user] = None
        elif _is_product(user):
            for factor in user.all_input_nodes:
                self._gate(factor)
            if len(user.all_input_nodes) == 2 or user.args[0] is user.args[1]:
                self.held[user] = None
            else:
                raise _NotUnderstoodError(f"its channels are multiplied in {_shown(user)}")
        else:
            self._hold(user)

    def _gate(self, node: fx.Node) -> None:
        """One factor of a product: followed back to the layer that makes it, if it does not hold the channels yet."""
        if node in self.held:
            return
        if outputs_of(self._module(node)) is not None:
            self._make(node)
            return
        before = [source for source in node.all_input_nodes if source.target != MODE]
        if len(before) != 1:
            raise _NotUnderstoodError(f"its channels are multiplied by what {_shown(node)} returns")
        self._gate(before[0])
        self._hold(node)

    def _hold(self, node: fx.Node) -> None:
        """``node`` works on each channel by itself, or the walk ends."""
        if not self._is_channelwise(node):
            raise _NotUnderstoodError(f"its channels are read by {_shown(node)}")
        self.held[node] = None

    def _is_channelwise(self, node: fx.Node) -> bool:
        if sum(source.target != MODE for source in node.all_input_nodes) != 1:
            return False
        if node.op == "call_function":
            return node.target in _ELEMENTWISE_FUNCTIONS or (node.target is torch.mean and self._is_spatial_mean(node))
        if node.op == "call_method":
            return node.target in _ELEMENTWISE_METHODS or (node.target == "mean" and self._is_spatial_mean(node))
        module = self.chains.module(node)
        if module is None:
            return False
        if is_depthwise(module) or is_narrowed_norm(module):
            shape = self.chains.observation.records[str(node.target)].in_shape or ()
            if self.rows and len(shape) != 2:
                return False
            self._free(node)
            self.along.append(str(node.target))
            return True
        if is_norm(module):
            return False
        if is_activation(module) or isinstance(module, _ELEMENTWISE_MODULES) or _is_drop_path(module):
            return all(parameter.numel() == 1 for parameter in module.parameters())
        return type(module).__module__ == "torch.nn.modules.pooling" and not self.rows

    def _is_reader(self, node: fx.Node) -> bool:
        module = self._module(node)
        return inputs_of(module) == self.width and (kind_of(module) == "linear") == self.rows

    def _is_spatial_mean(self, node: fx.Node) -> bool:
        """Whether ``node`` takes the mean of each channel of a map, and keeps the dimensions."""
        given = dict(zip(("dim", "keepdim"), node.args[1:], strict=False)) | dict(node.kwargs)
        dims = given.get("dim")
        listed = dims if isinstance(dims, list | tuple) else (dims,)
        return not self.rows and given.get("keepdim") is True and set(listed) <= {2, 3, -1, -2}


def _is_drop_path(module: nn.Module) -> bool:
    return type(module).__name__ == "DropPath"


def _is_product(node: fx.Node) -> bool:
    if node.op == "call_method":
        return node.target in _PRODUCT_METHODS
    return node.op == "call_function" and node.target in _PRODUCTS


def _before(node: fx.Node) -> set[fx.Node]:
    """All that ``node`` depends on."""
    seen: set[fx.Node] = set()
    front = [node]
    while front:
        fresh = set(front.pop().all_input_nodes) - seen
        seen |= fresh
        front.extend(fresh)
    return seen


def _shown(node: fx.Node) -> str:
    """A node in a message."""
    if node.op == "output":
        return "the output of the network"
    return str(node.target) if isinstance(node.target, str) else str(getattr(node.target, "__name__", node.target))
