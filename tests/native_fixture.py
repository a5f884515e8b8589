"""The native kernel, ready in this process."""

from __future__ import annotations

import pytest

from kswap.errors import DeployError
from kswap.native.build import Compiler
from kswap.native.operator import obstacle


def compiled_kernel() -> None:
    """Compiled once; the cache of the user keeps it for the next run. Skips where there is no compiler."""
    try:
        Compiler.find()
    except DeployError as error:
        pytest.skip(str(error))
    assert obstacle(build=True) is None
