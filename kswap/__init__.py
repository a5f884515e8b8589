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
    from kswap.analysis.cam import cam
    from kswap.analysis.evaluation import evaluate
    from kswap.benchmarks.run import bench
    from kswap.budgeting import block_library
    from kswap.conversion import convert, create_model, plan
    from kswap.converted import Conversion
    from kswap.data.opening import image_set
    from kswap.errors import KswapError
    from kswap.inference.optimize import optimize_for_inference
    from kswap.inference.record import optimization_of
    from kswap.inference.store import load_optimized
    from kswap.loading import load
    from kswap.planner import LayerPlan, Plan, plan_layer
    from kswap.planner.budget import Budget
    from kswap.report.report import Report
    from kswap.scans.scan import scan
    from kswap.training.optimize import optimize_for_training
    from kswap.training.train import train
    from kswap.transfer.compression import compress
    from kswap.transfer.distillation import distill

_HOMES = {
    "Conversion": "kswap.converted",
    "convert": "kswap.conversion",
    "create_model": "kswap.conversion",
    "plan": "kswap.conversion",
    "block_library": "kswap.budgeting",
    "load": "kswap.loading",
    "cam": "kswap.analysis.cam",
    "evaluate": "kswap.analysis.evaluation",
    "bench": "kswap.benchmarks.run",
    "scan": "kswap.scans.scan",
    "compress": "kswap.transfer.compression",
    "distill": "kswap.transfer.distillation",
    "image_set": "kswap.data.opening",
    "load_optimized": "kswap.inference.store",
    "optimization_of": "kswap.inference.record",
    "optimize_for_inference": "kswap.inference.optimize",
    "optimize_for_training": "kswap.training.optimize",
    "train": "kswap.training.train",
    "KswapError": "kswap.errors",
    "Budget": "kswap.planner.budget",
    "LayerPlan": "kswap.planner",
    "Plan": "kswap.planner",
    "plan_layer": "kswap.planner",
    "Report": "kswap.report.report",
}

__all__ = [
    "Budget",
    "Conversion",
    "KswapError",
    "LayerPlan",
    "Plan",
    "Report",
    "__version__",
    "bench",
    "block_library",
    "cam",
    "compress",
    "convert",
    "create_model",
    "distill",
    "evaluate",
    "image_set",
    "load",
    "load_optimized",
    "optimization_of",
    "optimize_for_inference",
    "optimize_for_training",
    "plan",
    "plan_layer",
    "scan",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kswap' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
