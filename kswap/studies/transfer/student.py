"""A small network that is to learn from the original."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from kswap.studies.transfer.subject import Subject


@dataclass(frozen=True)
class Student:
    """A network before distillation.

    ``frozen_norms`` says whether batch norms keep their statistics while it learns; ``note`` is how it was made, in a
    few words.
    """

    model: nn.Module
    frozen_norms: bool
    note: str


@dataclass(frozen=True)
class Method:
    """A way to make a network small.

    Args:
        name: As on the command line and in names of files.
        title: A few words for tables.
        build: Makes a student of at most a share of the parameters, the same again for the same seed.
        ours: Whether it is one of kswap's; the others are what it is compared with.
        packages: The packages that it needs, each with the extra of kswap that installs it.
    """

    name: str
    title: str
    build: Callable[[Subject, float, int], Student]
    ours: bool
    packages: Mapping[str, str] = field(default_factory=dict)
