"""The API reference: everything public is in it, and Sphinx builds it without a warning."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import kswap

SOURCE = Path(__file__).parents[1] / ".docs" / "api"


def test_everything_public_is_listed() -> None:
    listed = re.findall(r"^\.\. auto(?:function|class|exception):: (\w+)", (SOURCE / "index.rst").read_text(), re.M)
    assert sorted(listed) == sorted(set(kswap.__all__) - {"__version__"})


def test_it_is_built_without_warnings(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "-q", str(SOURCE), str(tmp_path)], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert all(f'id="kswap.{name}"' in page for name in set(kswap.__all__) - {"__version__", "KswapError"})
