"""Saved conversions are held against a budget: counts from their reports, bytes from their files, times measured."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kswap.checks.budget_file import BudgetFile
from kswap.checks.result import Check, CheckedConversion, CheckedLimit, costly_sites
from kswap.errors import ReportError, SavedError, excerpt
from kswap.files import read_json
from kswap.planner.budget import Cost, Limit
from kswap.report.calls import without_home
from kswap.report.report import Report
from kswap.saved.files import PLAN, WEIGHTS, inside
from kswap.saved.reading import read_report

# Which total says why a quantity is over: sites have neither bytes nor milliseconds of their own.
_WHY = {"params": "params", "macs": "macs", "bytes": "params", "ms": "macs"}
_ITEM_BYTES = {"float64": 8, "float16": 2, "bfloat16": 2}


def check(budget: BudgetFile, places: Sequence[str | Path] = (), why: int = 0) -> Check:
    """Check saved directories, or JSON reports, against ``budget``.

    Args:
        budget: What they may have at most.
        places: What to check; without any, the directories that the budget names.
        why: For each total that is over, how many of the costliest sites are told.

    Raises:
        ReportError: there is nothing to check, or no limit holds for something that is; bytes or times are asked of a
            report without its directory.
        SavedError: a directory cannot be read.
    """
    found = tuple(map(Path, places)) or budget.directories()
    if not found:
        raise ReportError(
            "there is nothing to check: name saved directories or JSON reports, or set directory in a [[for]] table "
            "of the budget"
        )
    checked = tuple(_checked(budget, place, why) for place in found)
    timed = any(limit.quantity == "ms" for one in checked for limit in one.limits)
    measured = f"ms: median of a pass of {budget.batch} in {budget.target}, threads: {budget.threads}" if timed else ""
    return Check(without_home(str(budget.path)), checked, measured)


def _checked(budget: BudgetFile, place: Path, why: int) -> CheckedConversion:
    report = read_report(place)
    limits = budget.limits_of(report.model, place)
    if not limits:
        raise ReportError(
            f"no budget is for {excerpt(report.model)} in {excerpt(place, 200)}: add one, or leave it out"
        )
    before, now = _costs(budget, place, report, limits)
    held = tuple(_held(quantity, limit, before, now) for quantity, limit in limits.items())
    over = dict.fromkeys(_WHY[limit.quantity] for limit in held if not limit.passed) if why else {}
    reasons = {key: costly_sites(report, key, why) for key in over}
    return CheckedConversion(without_home(str(place)), report.model, held, reasons)


def _held(quantity: str, limit: Limit, before: Cost, now: Cost) -> CheckedLimit:
    scale = 1000 if quantity == "ms" else 1
    original = scale * before.of(limit.quantity)
    return CheckedLimit(quantity, limit, scale * limit.most(before), scale * now.of(limit.quantity), original)


def _costs(budget: BudgetFile, place: Path, report: Report, limits: dict[str, Limit]) -> tuple[Cost, Cost]:
    """What the original and the converted model cost, as far as the limits ask for it."""
    bytes_before = bytes_now = 0
    if "bytes" in limits:
        root = _directory(place, "bytes are those of the saved weights")
        bytes_now = os.path.getsize(inside(root, WEIGHTS))
        bytes_before = _item_bytes(root) * report.params.before
    seconds: tuple[float, float] | tuple[None, None] = (None, None)
    if "ms" in limits and budget.target is not None:
        timed = str(_directory(place, "times are measured on the saved model"))
        from kswap.benchmarks.run import bench

        asked: dict[str, Any] = {"targets": (budget.target,), "batches": (budget.batch,), "threads": budget.threads}
        done = bench(timed, **asked, memory=False)
        row = next(row for row in done.rows if row.form == "optimised")
        seconds = (row.seconds.original.median, row.seconds.rewritten.median)
    before = Cost(report.params.before, report.macs.before, bytes_before, seconds[0])
    return before, Cost(report.params.after, report.macs.after, bytes_now, seconds[1])


def _item_bytes(root: Path) -> int:
    """Bytes of a weight in the number format of the saved ones."""
    plan = read_json(inside(root, PLAN), SavedError)
    return _ITEM_BYTES.get(str(plan.get("dtype") if isinstance(plan, dict) else None), 4)


def _directory(place: Path, why: str) -> Path:
    if place.is_dir():
        return place
    raise ReportError(f"{excerpt(place, 200)} is a report alone, and {why}: name the directory instead")
