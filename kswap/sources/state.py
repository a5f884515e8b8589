"""What differs between a model's state and tensors that are to be loaded into it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Misfit:
    """A tensor of another shape, or kind of number, than the model has under its name."""

    name: str
    found: Tensor
    expected: Tensor

    def __str__(self) -> str:
        found, expected = _text(self.found), _text(self.expected)
        if found == expected:
            found, expected = str(self.found.dtype), str(self.expected.dtype)
        return f"{self.name}: {found} instead of {expected}"


@dataclass(frozen=True)
class Differences:
    """Names that the tensors lack, that the model does not have, and tensors that do not fit."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misfits: tuple[Misfit, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misfits)

    @classmethod
    def between(cls, model: nn.Module, tensors: Mapping[str, Tensor]) -> Differences:
        """The differences, each in the order of the model or of the tensors.

        A tied weight is not missing where the tensors hold it under one of its names.
        """
        state = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
        filled = {_place(state[name]) for name in tensors if name in state}
        return cls(
            tuple(name for name in state if name not in tensors and _place(state[name]) not in filled),
            tuple(name for name in tensors if name not in state),
            tuple(
                Misfit(name, tensor, state[name])
                for name, tensor in tensors.items()
                if name in state and not _fits(tensor, state[name])
            ),
        )


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _fits(tensor: Tensor, own: Tensor) -> bool:
    return tensor.shape == own.shape and _number_kind(tensor) == _number_kind(own)


def _number_kind(tensor: Tensor) -> tuple[bool, bool]:
    return tensor.is_floating_point(), tensor.is_complex()


def _text(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
