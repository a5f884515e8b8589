"""A saved directory of kswap 0.1.0 loads as it did; whatever changes in its JSON files, errors are one sentence."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kswap
from kswap.errors import SavedError
from kswap.inference.store import read_optimizations
from kswap.saved.files import OPTIMIZED, PLAN, REPORT

FIXTURE = Path(__file__).parents[1] / "data" / "saved_by_0_1_0" / "test_efficientnet"
X = torch.sin(torch.arange(3 * 160 * 160, dtype=torch.float32)).reshape(1, 3, 160, 160)
# What kswap 0.1.0 itself returned.
EXPECTED = [[3.326316e-07, -1.900479e-07, -7.899170e-07, 3.465957e-07, 3.862655e-07]]


def test_a_directory_of_the_first_version_gives_the_same_outputs() -> None:
    before = torch.get_rng_state()
    conversion = kswap.load(FIXTURE)
    quick = kswap.load_optimized(FIXTURE)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.no_grad():
        for model in (conversion.model, quick):
            torch.testing.assert_close(model(X), torch.tensor(EXPECTED), rtol=1e-3, atol=1e-12)
    assert conversion.call.sample_shape == (3, 160, 160)


def test_the_plan_beside_the_forms_is_validated_too(tmp_path: Path) -> None:
    root = Path(shutil.copytree(FIXTURE, tmp_path / "model"))
    (root / PLAN).write_text("[]")
    with pytest.raises(SavedError, match="names no format"):
        read_optimizations(root)


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values in a JSON value."""
    if path:
        yield path
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


NUMBERS = [True, -1, 0, 0.5, 7, 10**6, 2**63, 10**30, float("nan"), float("inf")]
TEXTS = ["", "x", "int8", "1", "\x1b[31m", "a" * 10**5]
CONTAINERS: list[Any] = [[], {}, [[]], [None], {"": 1}, [1, [2]], {"name": {}}]
ACCURACY = {"stage": "projected", "top1": 0.7, "images": 100, "data": "pictures"}
ODD = st.sampled_from([None, *NUMBERS, *TEXTS, *CONTAINERS])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from([PLAN, PLAN, PLAN, OPTIMIZED, REPORT]))
def test_changed_files_load_or_are_refused(tmp_path: Path, data: st.DataObject, name: str) -> None:
    plain = json.loads((FIXTURE / name).read_text())
    if name == REPORT:
        plain["projection"] = {"images": 8, "seed": 0, "seconds": 1.5, "accuracies": [ACCURACY]}
        plain["sites"][-1]["fit_error"] = 0.5
    changed = change(data, plain)
    root = tmp_path / "model"
    if not root.exists():
        shutil.copytree(FIXTURE, root)
    for other in (PLAN, OPTIMIZED, REPORT):
        shutil.copy(FIXTURE / other, root / other)
    (root / name).write_text(json.dumps(changed))
    try:
        if name == OPTIMIZED:
            read_optimizations(root)
            kswap.load_optimized(root)
        else:
            kswap.load(root)
    except kswap.KswapError as error:
        check_sentence(error)


def check_sentence(error: kswap.KswapError) -> None:
    text = str(error)
    assert "\n" not in text
    assert "\x1b" not in text
    assert len(text) <= 1000  # what an error caps its message at


def change(data: st.DataObject, plain: Any) -> Any:
    """``plain`` with one or two values replaced or taken out."""
    changed = copy.deepcopy(plain)
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(list(places(changed)) or [("format",)]))
        inner = changed
        for key in path[:-1]:
            inner = inner[key]
        if data.draw(st.booleans()) or isinstance(inner, list):
            inner[path[-1]] = copy.deepcopy(data.draw(ODD))  # else a second change could put a list into itself
        else:
            inner.pop(path[-1], None)
    return changed


@pytest.mark.parametrize("path", ["a\0b", "a" * 300, "a/" * 3000])
def test_impossible_paths(path: str) -> None:
    conversion = kswap.load(FIXTURE)
    for call in (lambda: kswap.load(path), lambda: kswap.convert(path), lambda: conversion.save(path)):
        with pytest.raises(kswap.KswapError) as error:
            call()
        check_sentence(error.value)
