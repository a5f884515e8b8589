"""Freed memory stays in the process where a command asks for that."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from kswap.malloc import KEEPING, has_glibc, releasing_memory

pytestmark = pytest.mark.skipif(not has_glibc(), reason="only glibc has these settings")

# Page faults of 20 rounds that write 64 MiB and free them: 16,384 pages a round where freed memory is returned.
_ROUNDS = """
import resource, sys
from kswap.malloc import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
b"x" * 2**26
start = faults()
for _ in range(20):
    b"x" * 2**26 + b"y"
print(faults() - start)
"""


def page_faults(mode: str, **variables: str) -> int:
    environment = {**releasing_memory(os.environ), **variables}
    done = subprocess.run(
        [sys.executable, "-c", _ROUNDS, mode], env=environment, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_freed_memory_is_kept() -> None:
    assert page_faults("keep") < 0.2 * page_faults("release")


def test_what_the_user_set_is_left_alone() -> None:
    small = {name: str(2**20) for name in KEEPING}
    assert page_faults("keep", **small) > 100_000
