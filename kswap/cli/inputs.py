"""``--input``: what a model is called with, where one picture is not it."""

from __future__ import annotations

import keyword
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from kswap.errors import excerpt
from kswap.planner.input_size import MOST_NUMBERS

if TYPE_CHECKING:
    from torch import Tensor

DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")

_MOST_DIMENSIONS = 8

input_option = click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="[NAME=]SHAPE[:DTYPE]",
    help="An input, with its batch dimension: input_ids=1,16:int64 is a keyword argument, 1,3,224,224 a positional "
    "one. May be repeated.",
)


@dataclass(frozen=True)
class InputSpec:
    """One input of a model: a keyword argument, or a positional one where ``name`` is empty."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    @classmethod
    def parse(cls, text: str) -> InputSpec:
        """Read ``NAME=SHAPE:DTYPE``. Raises :class:`click.BadParameter`.

        >>> InputSpec.parse("input_ids=1,16:int64")
        InputSpec(name='input_ids', shape=(1, 16), dtype='int64')
        >>> InputSpec.parse("1,3,32,32").shape
        (1, 3, 32, 32)
        """
        name, equals, rest = text.rpartition("=")
        shape, colon, dtype = rest.partition(":")
        parts = [part.strip() for part in shape.replace("x", ",").split(",")]
        numbers = [int(part) for part in parts if part.isascii() and part.isdigit() and len(part) < 10]
        if len(numbers) != len(parts) or min(numbers) < 1 or len(numbers) > _MOST_DIMENSIONS:
            raise _bad(text, "is no input: write pixel_values=1,3,224,224 or input_ids=1,16:int64")
        if equals and (not name.isidentifier() or keyword.iskeyword(name)):
            raise _bad(text, f"names the argument '{excerpt(name, 40)}', which is no Python name")
        if colon and dtype not in DTYPES:
            raise _bad(text, f"has the dtype '{excerpt(dtype, 40)}': known are {', '.join(DTYPES)}")
        return cls(name, tuple(numbers), dtype if colon else "float32")


def _bad(text: str, says: str) -> click.BadParameter:
    return click.BadParameter(f"'{excerpt(text)}' {says}", param_hint="--input")


def parse_inputs(texts: Sequence[str], input_size: str | None) -> tuple[InputSpec, ...]:
    """All ``--input`` options of a command, checked together. Raises :class:`click.UsageError`."""
    specs = tuple(InputSpec.parse(text) for text in texts)
    if specs and input_size is not None:
        raise click.UsageError("--input and --input-size both say what the model is called with: leave one out")
    names = [spec.name for spec in specs if spec.name]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise click.BadParameter(f"'{twice}' is given twice", param_hint="--input")
    if names and len(names) < len(specs):
        raise click.BadParameter("name all inputs, or none of them", param_hint="--input")
    if sum(math.prod(spec.shape) for spec in specs) > MOST_NUMBERS:
        raise click.BadParameter(f"the inputs hold more than {MOST_NUMBERS:,} numbers", param_hint="--input")
    return specs


def example_of(specs: Sequence[InputSpec]) -> dict[str, Tensor] | tuple[Tensor, ...] | None:
    """Zeros as the specs say, as ``example_input`` takes them; ``None`` without any."""
    if not specs:
        return None
    import torch

    tensors = [torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in specs]
    if not specs[0].name:
        return tuple(tensors)
    return {spec.name: tensor for spec, tensor in zip(specs, tensors, strict=True)}
