"""Packages that only some methods of a study need."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

from kswap.errors import StudyError


def check_packages(method: str, packages: Mapping[str, str]) -> None:
    """Raises :class:`StudyError`, with what to install, where a package is missing.

    Args:
        method: What needs them.
        packages: Each with the extra of kswap that installs it.

    >>> check_packages("pruned", {"no_such_package": "study"})
    Traceback (most recent call last):
    kswap.errors.StudyError: the method pruned needs no_such_package: pip install 'kswap[study]'
    """
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        extras = ",".join(sorted({packages[package] for package in missing}))
        raise StudyError(f"the method {method} needs {', '.join(missing)}: pip install 'kswap[{extras}]'")
