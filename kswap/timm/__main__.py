"""Runs a script unchanged, after the converted models were registered with timm (by importing this package)::

python -m kswap.timm train.py --model kswap_efficientnet_b0.ch16 --data-dir photos
torchrun --nproc-per-node 2 -m kswap.timm train.py --model kswap_efficientnet_b0.ch16 --data-dir photos
"""

from __future__ import annotations

import os
import runpy
import sys

from kswap.errors import KswapError, excerpt

_USAGE = "usage: python -m kswap.timm SCRIPT.py [ARGUMENTS]"


def main() -> int:
    """Run the script that the command line names, as Python would; returns the exit status."""
    script = sys.argv[1] if len(sys.argv) > 1 else ""
    if script in ("-h", "--help"):
        print(_USAGE)
        return 0
    if not os.path.isfile(script):
        print(f"Error: there is no script '{excerpt(script, 200)}'; {_USAGE}", file=sys.stderr)
        return 2
    del sys.argv[0]
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(os.path.abspath(script))
    try:
        runpy.run_path(script, run_name="__main__")
    except KswapError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
