"""How a block is computed: one value for inference and training.

An implementation stands for a whole block: all its layers, what lies between them, norms and activations. Stock
layers of PyTorch in another arrangement are implementations, and so would be a fused kernel. Which ones a block has
is known by its kind, in :mod:`kswap.inference.kinds` and :mod:`kswap.training.kinds`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn

from kswap.errors import DeployError, excerpt

# The method of an implementation that is nothing but the dense layer which the block replaced.
DENSE = "dense"
# The method of an implementation by kswap's own kernel, which not every machine has.
NATIVE = "native"

_WORD = r"[a-z][a-z0-9_-]{0,39}"
_PARAMETER = rf"{_WORD}=(?:0|[1-9][0-9]{{0,8}})"
_TEXT = re.compile(rf"({_WORD})\.({_WORD})(?:\(({_PARAMETER}(?:,{_PARAMETER})*)\))?", re.ASCII)


@dataclass(frozen=True)
class ImplementationId:
    """The identifier of an implementation: the kind of its block, a method of that kind, and whole numbers.

    It has one text, which is what files hold; parameters are sorted by name and are at least 0.

    >>> collapse = ImplementationId.of("grouped", "collapse", height=16, groups=12)
    >>> str(collapse)
    'grouped.collapse(groups=12,height=16)'
    >>> ImplementationId.parse(str(collapse)) == collapse, collapse["groups"]
    (True, 12)
    """

    kind: str
    method: str
    parameters: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        if list(self.parameters) != sorted(dict(self.parameters).items()) or not _TEXT.fullmatch(str(self)):
            raise DeployError(f"{excerpt(self)} is no identifier of an implementation")

    @classmethod
    def of(cls, kind: str, method: str, **parameters: int) -> ImplementationId:
        """The identifier with these parameters, in any order."""
        return cls(kind, method, tuple(sorted(parameters.items())))

    @classmethod
    def parse(cls, text: object) -> ImplementationId:
        """Read the text of an identifier. Raises :class:`kswap.errors.DeployError` for any other text."""
        found = _TEXT.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise DeployError(
                f"{excerpt(text)} is no identifier of an implementation, such as 'grouped.k(groups=4)': "
                "optimise the model again"
            )
        kind, method, listed = found.groups()
        pairs = [pair.split("=") for pair in listed.split(",")] if listed else []
        return cls(kind, method, tuple((name, int(number)) for name, number in pairs))

    @property
    def is_dense(self) -> bool:
        """Whether this is the dense layer that the block replaced."""
        return self.method == DENSE

    @property
    def is_native(self) -> bool:
        """Whether kswap's own kernel runs it."""
        return self.method == NATIVE

    def __getitem__(self, name: str) -> int:
        """The parameter ``name``; 0 where there is none."""
        return dict(self.parameters).get(name, 0)

    def __str__(self) -> str:
        listed = ",".join(f"{name}={number}" for name, number in self.parameters)
        return f"{self.kind}.{self.method}({listed})" if listed else f"{self.kind}.{self.method}"


# Reading or writing a number takes about as long as this many MACs. A fit of a time per MAC, per number and per call to
# 73 implementations of the blocks of efficientnet_b0 (Ch 16, 224 pixels, batch 1, one thread of a CPU with AVX-512)
# gave 15 in OpenVINO, 5 in ONNX Runtime and 52 in plain PyTorch. Only the order of implementations depends on it.
_MACS_PER_NUMBER = 16


@dataclass(frozen=True)
class Cost:
    """What an implementation does for each position of the block's output.

    ``macs`` are multiply-accumulates of convolutions and matrix products, ``moved`` numbers read and written.

    >>> (Cost(100, 10) + Cost(20, 2)).estimate
    312
    """

    macs: int
    moved: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.macs + other.macs, self.moved + other.moved)

    @property
    def estimate(self) -> int:
        """An estimate of the time, in MACs per position."""
        return self.macs + _MACS_PER_NUMBER * self.moved


@dataclass(frozen=True)
class Implementation:
    """One way to compute a block.

    Args:
        id: which one; unique among the implementations of a block.
        cost: its arithmetic and memory traffic.
        build: returns the module that takes the place of the block: the same input, the same output.
        targets: the targets that can run it; ``None`` is every target.
        has_backward: whether it can be trained: gradients reach the parameters of the block itself.
        only_measured: whether it is taken only where it was measured to be the quickest, since its cost says too little
            about its time.
    """

    id: ImplementationId
    cost: Cost
    build: Callable[[], nn.Module] = field(repr=False, compare=False)
    targets: frozenset[str] | None = None
    has_backward: bool = False
    only_measured: bool = False

    def runs_in(self, target: str) -> bool:
        """Whether ``target`` can run it."""
        return self.targets is None or target in self.targets
