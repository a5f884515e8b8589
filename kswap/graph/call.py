"""How a model is called: positional and keyword arguments, nested or not, as one value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from kswap.errors import ModelError

# What a user may pass as an example: a tensor, positional arguments, or keyword arguments.
Example = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]

_MOST_LEAVES = 1000
_MOST_DEPTH = 20
_MOST_NUMBERS = 2**40


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in nested tuples, lists and dicts, in order."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def first_tensor(value: Any) -> Tensor:
    """The first tensor in nested tuples, lists and dicts, which must hold one.

    >>> first_tensor((2.0, {"x": torch.ones(1)}))
    tensor([1.])
    """
    return tensors_in(value)[0]


@dataclass(frozen=True, eq=False)
class Call:
    """Arguments of a forward pass; tensors may be nested in tuples, lists and dicts.

    >>> call = Call.of({"x": torch.zeros(2, 3), "scale": 2.0})
    >>> call.kwargs["x"].shape, len(call.tensors)
    (torch.Size([2, 3]), 1)
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, example: Example | Call) -> Call:
        """A tensor or list is the only argument, a tuple holds positional arguments, a dict keyword arguments.

        Raises :class:`ModelError` where there is no tensor in ``example``.
        """
        if isinstance(example, Call):
            return example
        if isinstance(example, Mapping):
            call = cls((), dict(example))
        else:
            call = cls(example if isinstance(example, tuple) else (example,))
        if not call.tensors:
            raise ModelError(f"example_input holds no tensor, but {type(example).__name__}: pass what the model takes")
        return call

    def on(self, model: nn.Module | Callable[..., Any]) -> Any:
        """The result of ``model``, called with these arguments."""
        return model(*self.args, **self.kwargs)

    def map(self, change: Callable[[Tensor], Any]) -> Call:
        """The same arguments with ``change`` applied to every tensor."""

        def changed(value: Any) -> Any:
            return change(value) if isinstance(value, Tensor) else value

        return Call(tree_map(changed, self.args), tree_map(changed, dict(self.kwargs)))

    def to(self, device: torch.device | str) -> Call:
        """The same arguments with every tensor on ``device``."""
        return self.map(lambda tensor: tensor.to(device))

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors, those of the positional arguments first."""
        return tensors_in((self.args, dict(self.kwargs)))

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of the first tensor without its first dimension."""
        return tuple(self.tensors[0].shape[1:])

    def to_json(self) -> dict[str, Any]:
        """The structure with shapes and dtypes, without data."""
        return {"args": [_described(value) for value in self.args], "kwargs": _described(dict(self.kwargs))["dict"]}

    @classmethod
    def from_json(cls, data: Any) -> Call:
        """A call with empty tensors on the meta device, from what :meth:`to_json` wrote. Raises :class:`ModelError`."""
        if not isinstance(data, dict) or set(data) != {"args", "kwargs"} or not isinstance(data["args"], list):
            raise ModelError("the inputs must be a table of args and kwargs")
        args = tuple(_made(value) for value in data["args"][:_MOST_LEAVES])
        kwargs = _made({"dict": data["kwargs"]})
        call = cls(args, kwargs)
        if not 1 <= len(call.tensors) <= _MOST_LEAVES:
            raise ModelError(f"the inputs must hold from 1 to {_MOST_LEAVES} tensors, not {len(call.tensors)}")
        return call


def _described(value: Any) -> Any:
    if isinstance(value, Tensor):
        return {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
    if isinstance(value, tuple | list):
        return {"tuple" if isinstance(value, tuple) else "list": [_described(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": {str(key): _described(item) for key, item in value.items()}}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    return {"value": None}  # an object of a class of the model's own; graphs do not depend on it


def _made(data: Any, depth: int = 0) -> Any:
    """The value that :func:`_described` describes, tensors empty on the meta device."""
    if not isinstance(data, dict) or depth > _MOST_DEPTH:
        raise ModelError(f"an input must be described by a table, not {data!r:.40}")
    if set(data) == {"shape", "dtype"}:
        shape, dtype = data["shape"], getattr(torch, str(data["dtype"]), None)
        fits = isinstance(shape, list) and len(shape) <= 16 and all(type(n) is int and 0 <= n < 2**31 for n in shape)
        if not fits or math.prod(shape) > _MOST_NUMBERS or not isinstance(dtype, torch.dtype):
            raise ModelError(f"an input tensor has a shape and a dtype, not {data!r:.80}")
        return torch.empty(shape, dtype=dtype, device="meta")
    ((kind, inner),) = data.items() if len(data) == 1 else (("", None),)
    if kind in ("tuple", "list") and isinstance(inner, list):
        items = [_made(item, depth + 1) for item in inner[:_MOST_LEAVES]]
        return tuple(items) if kind == "tuple" else items
    if kind == "dict" and isinstance(inner, dict):
        return {key: _made(item, depth + 1) for key, item in list(inner.items())[:_MOST_LEAVES]}
    if kind == "value" and (inner is None or isinstance(inner, bool | int | float | str)):
        return inner
    raise ModelError(f"an input cannot be {data!r:.80}")
