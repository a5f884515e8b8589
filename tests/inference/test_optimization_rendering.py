"""The record of optimising in each of its formats."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from kswap.codec import decode
from kswap.inference.record import Optimization, OptimizedBlock
from kswap.nn.implementation import ImplementationId
from kswap.report.renderers import formats_of, render, text_of


@pytest.fixture
def record() -> Optimization:
    dense, other = ImplementationId.of("grouped", "dense"), ImplementationId.of("grouped", "k", groups=4)
    seconds = {str(dense): 0.002, str(other): 0.0015}
    layers = (
        OptimizedBlock("blocks.0.[red]conv", dense, 1_000, 16_384, {}),
        OptimizedBlock("blocks.1.conv", other, 123_456_789, 200, seconds),
    )
    return Optimization(
        "onnxruntime", 1, True, (2, 3, 64, 64), 123_457_789, 16_584, 10**9, 2 * 10**9, 4, 1.5e-6, layers, {"alone": 0.5}
    )


def printed(record: Optimization, width: int = 60) -> str:
    console = Console(file=io.StringIO(), width=width)
    render(record, "rich", console)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_terminal_shows_every_block_and_number_at_any_width(record: Optimization, width: int) -> None:
    text = printed(record, width)
    for said in (
        "blocks.0.[red]conv",
        "123,456,789",
        "16,384",
        "2.000",
        "1.500",
        "onnxruntime",
        "2x3x64x64",
        "1.5e-06",
    ):
        assert said in text


def test_without_measuring_there_are_no_times(record: Optimization) -> None:
    estimated = replace(record, autotuned=False, seconds={})
    assert "ms dense" in printed(record)
    assert "ms dense" not in printed(estimated)
    assert "estimated" in printed(estimated)
    assert "| ms" not in text_of(estimated, "md")


def test_a_model_without_blocks_is_shown(record: Optimization) -> None:
    assert "0 blocks for onnxruntime" in printed(replace(record, layers=()))


def test_markdown_and_csv_have_a_line_per_block(record: Optimization) -> None:
    lines = text_of(record, "md").splitlines()
    assert lines[0] == "| block | implementation | parameters | stored | ms | ms dense |"
    assert "\\[red\\]" in lines[2]
    rows = list(csv.DictReader(io.StringIO(text_of(record, "csv"))))
    assert [int(row["parameters"]) for row in rows] == [1_000, 123_456_789]
    assert [row["ms dense"] for row in rows] == ["", "2.000"]


def test_json_is_the_record(record: Optimization) -> None:
    assert decode(Optimization, json.loads(text_of(record, "json")), "the record") == record


def test_the_formats_are_those_of_the_registry() -> None:
    assert formats_of("optimization") == ("rich", "json", "md", "csv")
