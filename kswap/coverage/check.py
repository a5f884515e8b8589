"""One model of the sweep: converted, run, saved and loaded, and compared with its original."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kswap.conversion import convert
from kswap.conversion import plan as make_plan
from kswap.converted import Conversion
from kswap.coverage.compare import Counterparts, MismatchError, class_and_message, structure
from kswap.coverage.drop_in import backward, differences
from kswap.coverage.sizes import smallest_size, too_heavy
from kswap.errors import PlanError
from kswap.graph.clone import meta_clone
from kswap.graph.splice import splice_
from kswap.loading import load
from kswap.model_table.sweep_row import YES, SweepRow
from kswap.model_table.table import pointwise_convolutions
from kswap.nn import PointwiseBlock
from kswap.planner.counting import count_plan
from kswap.planner.plan import Plan
from kswap.planning import PlanSettings, Run, plan_of, run_of
from kswap.sources.builders import build
from kswap.sources.inputs import call_for, input_size_of
from kswap.sources.source import Source, parse_source

# Larger models are converted and run, but not saved and loaded: 80 MB each would make the disk the limit.
MOST_SAVED_PARAMS = 20_000_000


class _StepError(Exception):
    """A step that failed, with what failed in it."""


@contextmanager
def _step(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _StepError(f"{name}: {class_and_message(error)}") from error


def _text(size: tuple[int, ...]) -> str:
    return "x".join(str(n) for n in size)


def check(name: str, ch: int = 16) -> SweepRow:
    """Convert the timm model ``name`` at ``ch`` (v2) and do with it what a user may do.

    Never raises: what goes wrong is in the row.
    """
    row = SweepRow(name)
    try:
        with _step("build"):
            source = parse_source(name)
            empty = build(source, meta=True).eval()
        own = input_size_of(empty, source)
        call = call_for(empty, source)
        with _step("observe"):
            run = run_of(empty, name, call)
        row = _counted(row, empty, run)
        try:
            plan = plan_of(empty, name, PlanSettings.of(ch, "v2", None), call, run, ())
        except PlanError as error:
            return replace(row, kept=len(pointwise_convolutions(empty)), note=str(error))
        row = _planned(row, empty, plan)
        with _step("sites"):
            _all_named(empty, plan)
        size = smallest_size(empty, own)
        heavy = too_heavy(row.params_before, row.macs_before * math.prod(size) // math.prod(own))
        size = own if heavy else size  # without arithmetic the full size costs nothing
        checked = "meta" if heavy else "real" if size == own else "real at smaller input"
        row = replace(row, input_size=_text(size))
        saved = _check_meta(source, empty, plan, size) if heavy else _check_real(source, empty, plan, size)
        row = replace(row, checked=checked, saved=saved[0], drop_in=saved[1])
        return replace(row, features_only=_features_only(name, ch, size))
    except _StepError as error:
        return replace(row, error=str(error))
    except Exception as error:
        return replace(row, error=class_and_message(error))


def _counted(row: SweepRow, empty: nn.Module, run: Run) -> SweepRow:
    params = sum(p.numel() for p in empty.parameters())
    macs = run.observation.total.macs
    path = "recorded" if run.trace.graph is None else "fx"
    return replace(row, params_before=params, params_after=params, macs_before=macs, macs_after=macs, path=path)


def _planned(row: SweepRow, empty: nn.Module, plan: Plan) -> SweepRow:
    after = count_plan(plan)
    convolutions = pointwise_convolutions(empty)
    replaced = len(plan.replaced)
    kept = sum(site.name in convolutions for site in plan.kept)
    return replace(row, params_after=after.params, macs_after=after.macs, replaced=replaced, kept=kept)


def _all_named(empty: nn.Module, plan: Plan) -> None:
    missing = set(pointwise_convolutions(empty)) - {site.name for site in plan.sites}
    silent = [site.name for site in plan.kept if not site.reason]
    if missing or silent:
        raise MismatchError(f"{sorted(missing)[:1] or silent[0]} is neither replaced nor kept with a reason")


def _all_replaced(converted: nn.Module, plan: Plan) -> None:
    inside = tuple(f"{site.name}." for site in plan.replaced)  # an L of one group is dense itself
    left = set(pointwise_convolutions(converted)) - {site.name for site in plan.kept}
    still = [name for name in left if not name.startswith(inside)]
    if still:
        raise MismatchError(f"{min(still)} is still there")


def _check_meta(source: Source, empty: nn.Module, plan: Plan, size: tuple[int, ...]) -> tuple[str, str]:
    with _step("convert"):
        converted = _on_meta(empty, plan)
    return _check_converted(Counterparts(source, empty, converted, size), plan, saved="")


def _on_meta(original: nn.Module, plan: Plan) -> nn.Module:
    """The conversion of a model on the meta device, in eval mode: the surgery without the weights."""
    clone = meta_clone(original)
    splice_(clone, plan)
    return clone


def _check_real(source: Source, empty: nn.Module, plan: Plan, size: tuple[int, ...]) -> tuple[str, str]:
    with _step("convert"):
        conversion = convert(source.name, plan=plan, input_size=size, device="cpu", seed=0)
    models = Counterparts(source, empty, conversion.model, size)
    with _step("train mode"):
        models.original.train()
        models.check_same(lambda model, x: model.train()(x))
        models.original.eval()
    with _step("backward"):
        _check_gradients(conversion.model, torch.randn(2, *size))
    conversion.model.eval()
    saved = ""
    if plan.before.params <= MOST_SAVED_PARAMS:
        with _step("save and load"):
            _check_saved(conversion, torch.randn(2, *size))
            saved = YES
    return _check_converted(models, plan, saved)


def _check_converted(models: Counterparts, plan: Plan, saved: str) -> tuple[str, str]:
    """``saved``, and the row's ``drop_in``, after a forward pass in eval mode."""
    with _step("converted"):
        _all_replaced(models.converted, plan)
    with _step("eval mode"):
        models.check_same(lambda model, x: model(x))
    wrong = differences(models, tuple(site.name for site in plan.replaced))
    return saved, f"no: {'; '.join(wrong)}" if wrong else YES


def _check_gradients(model: nn.Module, x: Tensor) -> None:
    model.train()
    backward(model(x))
    for name, block in model.named_modules():
        if isinstance(block, PointwiseBlock):
            for key, parameter in block.named_parameters():
                if parameter.requires_grad and (parameter.grad is None or not parameter.grad.isfinite().all()):
                    raise MismatchError(f"{name}.{key} gets no finite gradient")
    model.zero_grad(set_to_none=True)


def _check_saved(conversion: Conversion, x: Tensor) -> None:
    with tempfile.TemporaryDirectory() as directory, torch.no_grad():
        again = load(conversion.save(Path(directory) / "saved")).model
        torch.testing.assert_close(again(x), conversion.model(x), rtol=0, atol=0, equal_nan=True)


def _features_only(name: str, ch: int, size: tuple[int, ...]) -> str:
    """Whether the variant that returns feature maps converts too; checked on the meta device."""
    source = parse_source(name, {"features_only": True})
    try:
        original = build(source, meta=True).eval()
        wanted = _meta_outputs(original, size)
    except Exception:
        return "none"
    try:
        plan = make_plan(name, ch=ch, input_size=size, features_only=True)
        found = _meta_outputs(_on_meta(original, plan), size)
    except PlanError as error:
        return f"nothing to replace: {error}"
    except Exception as error:
        return f"no: {class_and_message(error)}"
    return YES if found == wanted else "no: its feature maps differ in shape"


@torch.no_grad()
def _meta_outputs(model: nn.Module, size: tuple[int, ...]) -> tuple[Any, list[Any]]:
    return structure(model(torch.empty(2, *size, device="meta")))
