"""kswap: pointwise convolutions of PyTorch image models with a tenth of the weights.

>>> import kswap
>>> kswap.plan_layer(1152, 320, ch=16).weights
10240

Everything that needs torch is imported when it is first used, so that ``import kswap`` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kswap.version import __version__

if TYPE_CHECKING:
    from kswap.conversion import Conversion, convert, create_model, plan
    from kswap.deploy.bench import bench
    from kswap.deploy.optimize import optimize_for_inference
    from kswap.deploy.saved import load_optimized
    from kswap.deploy.training import optimize_for_training
    from kswap.errors import KswapError
    from kswap.learn.cam import cam
    from kswap.learn.evaluation import evaluate
    from kswap.planner import LayerPlan, Plan, plan_layer
    from kswap.report.report import Report
    from kswap.saving import load

_HOMES = {
    "Conversion": "kswap.conversion",
    "convert": "kswap.conversion",
    "create_model": "kswap.conversion",
    "plan": "kswap.conversion",
    "load": "kswap.saving",
    "cam": "kswap.learn.cam",
    "evaluate": "kswap.learn.evaluation",
    "bench": "kswap.deploy.bench",
    "load_optimized": "kswap.deploy.saved",
    "optimize_for_inference": "kswap.deploy.optimize",
    "optimize_for_training": "kswap.deploy.training",
    "KswapError": "kswap.errors",
    "LayerPlan": "kswap.planner",
    "Plan": "kswap.planner",
    "plan_layer": "kswap.planner",
    "Report": "kswap.report.report",
}

__all__ = [
    "Conversion",
    "KswapError",
    "LayerPlan",
    "Plan",
    "Report",
    "__version__",
    "bench",
    "cam",
    "convert",
    "create_model",
    "evaluate",
    "load",
    "load_optimized",
    "optimize_for_inference",
    "optimize_for_training",
    "plan",
    "plan_layer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kswap' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
