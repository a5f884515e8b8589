"""The original and the network that is being converted, run side by side from one module to the next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from kswap.errors import KswapError
from kswap.graph.call import Call, first_tensor
from kswap.graph.device import device_of
from kswap.graph.tracer import MODE, graph_module

# Bytes of the intermediate results that a walk keeps, of both networks together.
MOST_KEPT = 2**30


@dataclass(frozen=True)
class Seen:
    """What a module is called with, in the network that is being converted and in the original."""

    converted: Tensor
    original: Tensor


class Walk(ABC):
    """Calls two networks of the same structure with the same batches, up to one module after the other.

    Between two calls of :meth:`inputs_of` the modules that were passed may be replaced or changed in the converted
    network; those that are visited next see what follows from it. Both networks must be in eval mode.
    """

    @abstractmethod
    def inputs_of(self, name: str, ahead: bool = False) -> Iterator[Seen]:
        """The first argument of each call of the module ``name``, batch by batch.

        Names must be asked for in the order in which the modules run, and each iterator must be used up. A look
        ``ahead`` does not count in that order.
        """

    @abstractmethod
    def outputs(self) -> Iterator[Any]:
        """What the converted network returns as it is now, batch by batch.

        Only modules from the last one on that :meth:`inputs_of` was asked for may have changed since then.
        """


class GraphWalk(Walk):
    """A walk along a traced graph. Intermediate results are kept where they fit, so that nothing runs twice.

    Where the results of all batches at a module take more than ``most_kept`` bytes, the next step starts from the last
    place where they fitted: time is traded for memory.
    """

    def __init__(
        self,
        original: nn.Module,
        converted: nn.Module,
        batches: Sequence[Call],
        traced: fx.GraphModule,
        most_kept: int = MOST_KEPT,
    ) -> None:
        self._roots = (converted, original)
        self._device = device_of(original)
        self._batches = batches
        self._traced = traced
        self._nodes = list(traced.graph.nodes)
        self._at = {node.target: place for place, node in enumerate(self._nodes) if node.op == "call_module"}
        self._last_use = _last_uses(self._nodes)
        self._most_kept = most_kept
        self._start = 0
        self._kept: list[_Values] | None = None  # what the nodes before _start returned, for each batch

    @torch.no_grad()
    def inputs_of(self, name: str, ahead: bool = False) -> Iterator[Seen]:
        place = self._at[name]
        node = self._nodes[place]
        kept: list[_Values] | None = None if ahead else []
        for number in range(len(self._batches)):
            values = self._run(number, place)
            yield Seen(*(_first_tensor(node, values[root]) for root in range(2)))
            if kept is not None:
                kept.append(values)
                kept = None if number == 0 and _size(values) * len(self._batches) > self._most_kept else kept
        if kept is not None:
            self._kept, self._start = kept, place

    @torch.no_grad()
    def outputs(self) -> Iterator[Any]:
        (output,) = (node for node in self._nodes if node.op == "output")
        for number in range(len(self._batches)):
            known = self._run(number, self._nodes.index(output), self._roots[:1])[0]
            yield fx.node.map_arg(output.args[0], known.__getitem__)

    def _run(self, number: int, place: int, roots: tuple[nn.Module, ...] | None = None) -> _Values:
        """What the nodes before ``place`` return for one batch, as far as a node from there on reads it."""
        roots = self._roots if roots is None else roots
        # Copies, since operators that work in place would change what is kept.
        if self._kept is None:
            call = self._batches[number].to(self._device)
            values = tuple(_inputs(self._nodes, call.map(torch.clone)) for _ in roots)
        else:
            values = tuple(_copied(known) for known in self._kept[number][: len(roots)])
        for position in range(self._start, place):
            node = self._nodes[position]
            for root, known in zip(roots, values, strict=True):
                if node.op != "placeholder":
                    known[node] = self._value(node, root, known)
                for source in self._last_use.get(position, ()):
                    known.pop(source, None)
        return values

    def _value(self, node: fx.Node, root: nn.Module, known: dict[fx.Node, Any]) -> Any:
        if node.op == "get_attr":
            return _attribute(root, self._traced, str(node.target))
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda source: known[source])
        if node.op == "call_module":
            return False if node.target == MODE else root.get_submodule(str(node.target))(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        assert callable(node.target), node.op
        return node.target(*args, **kwargs)

    def output_of(self, call: Call) -> Any:
        """What the graph returns for the original, to compare with the original itself."""
        known = _inputs(self._nodes, call)
        for node in self._nodes:
            if node.op == "output":
                return fx.node.map_arg(node.args[0], lambda source: known[source])
            if node.op != "placeholder":
                known[node] = self._value(node, self._roots[1], known)
        return None


# What nodes returned, in the converted network and in the original.
_Values = tuple[dict[fx.Node, Any], ...]


class WholeWalk(Walk):
    """A walk that runs both networks from their inputs for every module: for those without a graph.

    Also for networks that call a replaced module more than once; all its calls are seen.
    """

    def __init__(
        self, original: nn.Module, converted: nn.Module, batches: Sequence[Call], calls: Mapping[str, int]
    ) -> None:
        """``calls`` says how often one forward pass calls a module, by its name."""
        self._roots = (converted, original)
        self._device = device_of(original)
        self._batches = batches
        self._calls = calls

    @torch.no_grad()
    def inputs_of(self, name: str, ahead: bool = False) -> Iterator[Seen]:
        for number in range(len(self._batches)):
            call = self._batches[number].to(self._device)
            seen = [_inputs_of(root, name, call.map(torch.clone), self._calls.get(name, 0)) for root in self._roots]
            yield from (Seen(*pair) for pair in zip(*seen, strict=False))

    @torch.no_grad()
    def outputs(self) -> Iterator[Any]:
        for batch in self._batches:
            yield batch.to(self._device).map(torch.clone).on(self._roots[0])


class _Reached(BaseException):
    """Ends a forward pass from inside; no model catches it."""


def _inputs_of(root: nn.Module, name: str, call: Call, calls: int) -> list[Tensor]:
    """The first arguments of the module ``name`` in one forward pass, which ends at the last of its ``calls``."""
    found: list[Tensor] = []

    def note(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found.append(first_tensor((args, kwargs)).clone())
        if len(found) == calls:
            raise _Reached

    handle = root.get_submodule(name).register_forward_pre_hook(note, with_kwargs=True)
    try:
        call.on(root)
    except _Reached:
        pass
    finally:
        handle.remove()
    return found


def walk_of(
    original: nn.Module,
    converted: nn.Module,
    batches: Sequence[Call],
    names: Sequence[str],
    calls: Mapping[str, int],
    most_kept: int = MOST_KEPT,
) -> Walk:
    """A walk past the modules ``names``: along the graph where it computes what the model does, else by whole runs.

    Args:
        original: in eval mode; is not changed.
        converted: of the same structure, in eval mode.
        batches: at least one.
        names: of the modules that will be asked for.
        calls: how often one forward pass calls each of them.
        most_kept: bytes of intermediate results.
    """
    whole = WholeWalk(original, converted, batches, calls)
    if any(calls.get(name, 0) != 1 for name in names):
        return whole
    try:
        first = batches[0].to(device_of(original))
        traced = graph_module(original, first)
        along = GraphWalk(original, converted, batches, traced, most_kept)
        same = _agree(lambda: along.output_of(first.map(torch.clone)), lambda: first.map(torch.clone).on(original))
    except KswapError:
        return whole
    known = {node.target for node in traced.graph.nodes if node.op == "call_module"}
    return along if same and known.issuperset(names) else whole


@torch.no_grad()
def _agree(graph: Callable[[], Any], model: Callable[[], Any]) -> bool:
    """Whether two functions return the same tensors, but for rounding."""
    try:
        left, right = tree_leaves(graph()), tree_leaves(model())
    except Exception:  # a graph may hold numbers that fit the traced batch only
        return False
    if [isinstance(leaf, Tensor) for leaf in left] != [isinstance(leaf, Tensor) for leaf in right]:
        return False
    pairs = [(a, b) for a, b in zip(left, right, strict=True) if isinstance(a, Tensor) and isinstance(b, Tensor)]
    return all(a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-4, equal_nan=True) for a, b in pairs)


def _last_uses(nodes: Sequence[fx.Node]) -> dict[int, tuple[fx.Node, ...]]:
    """For each place, the nodes whose results are read there for the last time."""
    last: dict[fx.Node, int] = {}
    for place, node in enumerate(nodes):
        last[node] = place
        for source in node.all_input_nodes:
            last[source] = place
    found: dict[int, tuple[fx.Node, ...]] = {}
    for node, place in last.items():
        found[place] = (*found.get(place, ()), node)
    return found


def _inputs(nodes: Sequence[fx.Node], call: Call) -> dict[fx.Node, Any]:
    """The arguments of ``call`` by placeholder: positional ones first, then keyword arguments in their order."""
    placeholders = [node for node in nodes if node.op == "placeholder"]
    return dict(zip(placeholders, (*call.args, *call.kwargs.values()), strict=True))


def _attribute(root: nn.Module, traced: fx.GraphModule, target: str) -> Any:
    """A parameter or buffer of ``root``; what tracing has made itself is held by the graph's own module."""
    for holder in (root, traced):
        value: Any = holder
        for part in target.split("."):
            value = getattr(value, part, None)
        if value is not None:
            return value
    raise KswapError(f"the graph reads '{target}', which the model does not have")


def _copied(known: dict[fx.Node, Any]) -> dict[fx.Node, Any]:
    """The same values with every tensor copied."""
    return {
        node: fx.node.map_aggregate(value, lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf)
        for node, value in known.items()
    }


def _first_tensor(node: fx.Node, known: dict[fx.Node, Any]) -> Tensor:
    sources = fx.node.map_arg((node.args, node.kwargs), lambda source: known[source])
    return first_tensor(sources)


def _size(values: _Values) -> int:
    """Bytes of all tensors."""
    tensors = {id(leaf): leaf for known in values for leaf in tree_leaves(list(known.values()))}
    return sum(leaf.numel() * leaf.element_size() for leaf in tensors.values() if isinstance(leaf, Tensor))
