"""No number of a benchmark is cropped, at any width; in a pipe no column is left out."""

from __future__ import annotations

import io
import re

from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from kswap.benchmarks.environment import Machine
from kswap.benchmarks.result import Benchmark, Macs, Memory, Row, Seconds, Sizes
from kswap.report.renderers import render
from kswap.timing import Spread

MACHINE = Machine("cpu", 2, 1, None, "Linux", "3.11", "0.1.0", {"torch": "2.15.0"}, {}, "2026-11-21 08:42 UTC")
ROW = Row(
    *(21, 1.4567, 1.4012, 1.5034, 1.0, 0.98, 1.02),
    model="model\x1b[31m",
    ch=16,
    scheme="v2",
    input_size=(3, 224, 224),
    batch=12345,
    target="onnxruntime",
    threads=1,
    device="cpu",
    mode="inference",
    form="optimised",
    seconds=Seconds(Spread(0.125, 0.123, 0.126), Spread(0.0983, 0.0972, 0.0998)),
    params=Sizes(5_288_548, 1_893_416, 2_263_440),
    macs=Macs(384_547_552, 119_292_640),
    weights_bytes=Sizes(21_300_000, 7_700_000, 9_100_000),
    memory_bytes=Memory(123 * 2**20, 45 * 2**20),
)
FOUND = Benchmark(MACHINE, (ROW,))


def shown(width: int, terminal: bool) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system="truecolor")
    render(FOUND, "rich", console)
    return re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue())


def numbers(text: str) -> set[str]:
    return {found.strip(".,") for found in re.findall(r"\d[\d,.]*", text)}


@settings(deadline=None, max_examples=60)
@given(width=st.integers(20, 200), terminal=st.booleans())
@example(width=20, terminal=True)
@example(width=60, terminal=False)
def test_no_number_of_a_benchmark_is_cropped(width: int, terminal: bool) -> None:
    text = shown(width, terminal)
    everything = numbers(shown(10_000, True))
    assert numbers(text) <= everything
    assert "1.46" in numbers(text)
    if not terminal:
        assert numbers(text) == everything
        assert text.isascii()


def test_names_of_a_benchmark_are_shown_with_escapes() -> None:
    assert r"model\x1b[31m" in shown(120, True)
