"""What is collected: the kernels need triton, which there is for Linux only."""

from __future__ import annotations

import importlib.util

collect_ignore = [] if importlib.util.find_spec("triton") else ["kswap/nn/kernels"]
