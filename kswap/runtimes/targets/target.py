"""What a target is: a place where a model can run."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from kswap.errors import DeployError

if TYPE_CHECKING:
    from torch import nn

    from kswap.runtimes.prepared import Prepared

    # Model, inputs, threads, quick.
    Prepare = Callable[[nn.Module, tuple[Any, ...], int | None, bool], Prepared]
    # Model, inputs, names of its layers, threads.
    ShareOf = Callable[[nn.Module, tuple[Any, ...], Sequence[str], int | None], float]


def _no_settings(threads: int | None) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


def _no_obstacle() -> str | None:
    return None


@dataclass(frozen=True)
class Target:
    """A place where a model can run.

    Args:
        name: As on the command line and in ``optimized.json``.
        device: The type of torch device that weights and inputs come from.
        prepare: Returns a forward pass that is ready to run, for a model, its inputs, the number of threads (``None``
            leaves it to the runtime) and whether to prepare quickly; :func:`kswap.runtimes.targets.prepare` explains.
        settings: Returns a context manager for a number of threads. Passes are prepared and timed inside it. It sets
            what the runtime reads from the process, and restores it.
        packages: The packages needed, each with the extra of kswap that installs it.
        obstacle: Returns why the target cannot run here, or ``None``. Packages are checked before.
        is_eager: Operators run one by one, as in PyTorch itself: a model can be trained there, and run unoptimised.
        fuses_across_layers: The runtime fuses operators and chooses memory layouts beyond a single layer, and prepares
            quickly: implementations of a block are also timed between neighbours, and mixed.
        most_implementations: How many implementations of a block are timed at most.
        tries_estimate: Whether the whole model is also timed with the estimated implementations.
        share_of: Returns the share of the time of a pass, 0 to 1, that layers of a model take by name, measured inside
            ``settings``. Raises :class:`DeployError` where that cannot be told for this model.
        no_share: Why there is no ``share_of``.
    """

    name: str
    device: Literal["cpu", "cuda"]
    prepare: Prepare
    settings: Callable[[int | None], AbstractContextManager[None]] = _no_settings
    packages: Mapping[str, str] = field(default_factory=dict)
    obstacle: Callable[[], str | None] = _no_obstacle
    is_eager: bool = False
    fuses_across_layers: bool = False
    most_implementations: int = 8
    tries_estimate: bool = True
    share_of: ShareOf | None = None
    no_share: str = "the runtime does not say how long a layer takes"

    def check_packages(self) -> None:
        """Raises :class:`DeployError`, with what to install, when packages are missing."""
        missing = [package for package in self.packages if importlib.util.find_spec(package) is None]
        if missing:
            extras = ",".join(sorted({self.packages[package] for package in missing}))
            raise DeployError(f"{self.name} needs {', '.join(missing)}: pip install 'kswap[{extras}]'")

    def check(self) -> None:
        """Raises :class:`DeployError` when the target cannot run here."""
        self.check_packages()
        obstacle = self.obstacle()
        if obstacle is not None:
            raise DeployError(obstacle)

    @property
    def is_available(self) -> bool:
        """Whether the target can run here."""
        try:
            self.check()
        except DeployError:
            return False
        return True
