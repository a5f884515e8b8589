"""Which versions of other packages are installed."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable


def installed_versions(names: Iterable[str]) -> dict[str, str | None]:
    """The version of each package; ``None`` for one that is not installed.

    >>> installed_versions(["no-such-package"])
    {'no-such-package': None}
    """
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found
