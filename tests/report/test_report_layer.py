"""One layer explained: the picture has to agree with the arithmetic."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from kswap.planner import BLOCK_KINDS, BlockSettings, interleave_order, plan_block, plan_layer
from kswap.report.channel_paths import paths_of, span
from kswap.report.glyphs import Glyphs
from kswap.report.kinds import EXPLANATIONS
from kswap.report.layer import render_layer

ASCII = Glyphs(ascii_only=True)


def shown(*layer: int, scheme: str = "v2", second_layer: bool = True, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    render_layer(plan_layer(*layer, scheme=scheme, second_layer=second_layer), console)
    return console.file.getvalue()


def words(text: str) -> str:
    return " ".join(text.split())


def test_the_layer_of_the_readme() -> None:
    text = words(shown(1152, 320, 16))
    for part in (
        "dense convolution 368,640 100%",
        "K 72x4+32 i20 L 20x16 10,240 2.8%",
        "72 groups of 4 filters; each filter reads the 16 channels of its group, not all 1,152.",
        "72 x 4 = 288 filters, and 320 are wanted: a second path of 32 extra groups of 1 filter makes the other 32.",
        "1136-1151 --> 284-287 group 72",
        "496-511 --> 319 extra group 32",
        "step 20",
        "0, 20, ..., 300, then 1, 21, ..., 301, and so on.",
        "19, 39, ..., 319 --> 304-319 group 20",
        "K (in its own order) + L, channel by channel: 320 output channels.",
    ):
        assert part in text


def test_replication_is_explained_and_drawn() -> None:
    text = words(shown(14, 10, 4))
    assert "4 x 4 = 16 channels are needed: the first 2 are read twice" in text
    assert "12-13, 0-1 --> 6-7 group 4" in text
    assert "7, 9, 0, 2 --> 6-8 group 3" in text  # L's third group: the tail of the interleave, then replicated


def test_a_dense_second_layer_says_so() -> None:
    text = words(shown(96, 4, 16))
    assert "K 4x1 L dense" in text
    assert "One group: a plain dense pointwise convolution, every filter reads all 4 channels." in text
    assert "Interleave" not in text


def test_without_l() -> None:
    text = words(shown(320, 1280, 16))
    assert "There is no L (more outputs than inputs: K alone)." in text
    assert "Sum" not in text
    assert "There is no L (K alone, as the rules ask)." in words(shown(1152, 320, 16, second_layer=False))


def test_v1_says_that_the_outputs_are_reordered() -> None:
    assert "the block's outputs come in this order" in words(shown(128, 256, 16, scheme="v1"))
    assert "the block's outputs come in this order" not in words(shown(1024, 512, 16, scheme="v1"))


@pytest.mark.parametrize(
    ("layer", "hint"),
    [((24, 16, 16), "A Ch of 11 or less would replace it."), ((64, 1, 8), "No smaller Ch would replace it.")],
)
def test_a_kept_convolution_says_why(layer: tuple[int, int, int], hint: str) -> None:
    text = shown(*layer)
    plan = plan_layer(*layer)
    assert f"kept unchanged: {plan.reason}" in text
    assert f"{plan.dense_weights:,} weights, and all of them stay" in text
    assert hint in text


def test_the_hint_is_true() -> None:
    assert plan_layer(24, 16, 11).k is not None
    assert plan_layer(24, 16, 12).k is None


@pytest.mark.parametrize(("ic", "f", "ch"), [(14, 10, 4), (1152, 320, 16), (240, 40, 16), (672, 28, 16), (97, 31, 5)])
def test_the_paths_are_those_of_the_arithmetic(ic: int, f: int, ch: int) -> None:
    plan = plan_layer(ic, f, ch)
    assert plan.k is not None
    assert plan.l is not None
    for layout, source in ((plan.k, list(range(ic))), (plan.l, interleave_order(f, plan.interleave_step or 1))):
        paths = paths_of(layout, source)
        made = [channel for path in paths for group in path.makes for channel in group]
        assert made == list(range(f))
        assert {channel for group in paths[0].reads for channel in group} == set(range(len(source)))
        weights = sum(len(r) * len(m) for path in paths for r, m in zip(path.reads, path.makes, strict=True))
        assert weights == layout.weights


@pytest.mark.parametrize("width", [60, 80, 160])
def test_plain_and_no_wider_than_the_console(width: int) -> None:
    for layer in ((1152, 320, 16), (3840, 640, 16), (24, 16, 16)):
        text = shown(*layer, width=width)
        assert text.isascii()
        assert max(map(len, text.splitlines())) <= width


def test_large_layers_stay_short() -> None:
    assert len(shown(3840, 640, 16).splitlines()) < 60


@pytest.mark.parametrize(
    ("channels", "text"),
    [
        ((5,), "5"),
        ((0, 1), "0-1"),
        ((0, 2, 4), "0, 2, 4"),
        (tuple(range(1, 40, 2)), "1, 3, ..., 39"),
        ((0, 1, 2, 9, 10, 30, 31, 50, 51), "0-2, 9-10, 30-31, ..."),
    ],
)
def test_spans(channels: tuple[int, ...], text: str) -> None:
    assert span(channels, ASCII) == text


def test_low_rank_is_explained() -> None:
    console = Console(file=io.StringIO(), width=80)
    render_layer(plan_block(1152, 320, BlockSettings(kind="low-rank", rank=24)), console)
    text = words(console.file.getvalue())
    for part in (
        "low rank | scheme v2",
        "rank 24 35,328 9.6%",
        "1152->24 1152 inputs x 24 filters = 27,648 weights",
        "24->320 24 inputs x 320 filters = 7,680 weights",
        "Every output is made from the same 24 channels",
    ):
        assert part in text
    assert "K " not in text


def test_assigned_groups_are_explained() -> None:
    plan = plan_block(20, 40, BlockSettings(kind="assigned", ch=16))
    for reads, parts in (
        (None, ("the first 12 are read twice", "Nothing is assigned yet", "0-15 --> 0-19 group 1")),
        (
            (*range(0, 20, 2), *range(1, 12, 2), *range(1, 20, 2), *range(0, 12, 2)),
            ("12 places read what", "was assigned by"),
        ),
    ):
        console = Console(file=io.StringIO(), width=80)
        render_layer(replace(plan, reads=reads), console)
        text = words(console.file.getvalue())
        for part in ("groups assigned | scheme v2", "assigned 2x20 640 80.0%", *parts):
            assert part in text
    console = Console(file=io.StringIO(), width=80)
    render_layer(plan_block(16, 40, BlockSettings(kind="assigned", ch=16)), console)
    assert "A Ch of 15 or less would replace it." in console.file.getvalue()


def test_a_kept_low_rank_layer_says_which_rank_saves() -> None:
    plan = plan_block(64, 64, BlockSettings(kind="low-rank", rank=60))
    console = Console(file=io.StringIO(), width=80)
    render_layer(plan, console)
    assert "A rank of 31 or less saves weights." in console.file.getvalue()
    assert plan_block(64, 64, BlockSettings(kind="low-rank", rank=31)).replaces
    assert not plan_block(64, 64, BlockSettings(kind="low-rank", rank=32)).replaces


def test_every_kind_of_block_is_explained() -> None:
    assert list(EXPLANATIONS) == list(BLOCK_KINDS)
