"""What pytest looks for examples in: the files here import triton, which there is for Linux only."""

from __future__ import annotations

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("triton") else ["*.py"]
