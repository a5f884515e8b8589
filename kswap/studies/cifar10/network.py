"""A form of the network of a study, and how it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kswap.converted import Conversion

if TYPE_CHECKING:
    from kswap.studies.cifar10.settings import Settings


@dataclass(frozen=True)
class Network:
    """A network with fresh weights; ``note`` is how it was made, in a few words."""

    conversion: Conversion
    note: str = ""


@dataclass(frozen=True)
class Method:
    """A form of the network.

    Args:
        name: As on the command line and in names of files.
        title: A few words for tables.
        build: Makes it, the same again for the same seed.
        ours: Whether it is one of the papers'; the others are what it is compared with.
        line: What it shares a line with in the pictures; empty for a point of its own.
        learns_as: The method that its learning rate is chosen for; empty for itself.
        packages: The packages that it needs, each with the extra of kswap that installs it.
    """

    name: str
    title: str
    build: Callable[[Settings, int], Network]
    ours: bool = False
    line: str = ""
    learns_as: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
