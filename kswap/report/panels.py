"""Pictures of the parts of a block as values: what is in them, not how they are drawn.

Equal parts have equal panels, so a page with hundreds of sites draws each of them once. As in Figure 1 of the 2022
paper, replicated channels and the second path are marked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kswap.planner.layer_plan import interleave_order
from kswap.planner.layout import GroupedLayout
from kswap.report.channel_paths import ChannelPath, shown_groups, span
from kswap.report.glyphs import Glyphs

COLOURS = 4  # groups are told apart by this many colours, in turns
SHOWN_CELLS = 16  # channels of a group that are drawn before the middle ones are left out
LONGEST_LABEL = 19  # letters that fit above the channels of a group
GLYPHS = Glyphs(ascii_only=False)


@dataclass(frozen=True)
class Cells:
    """Channels in a row: their numbers in short, and for each drawn one its colour (``None`` where some are left out).

    ``again`` are the places among the drawn ones of channels that are replicated.
    """

    label: str
    colours: tuple[int | None, ...]
    again: tuple[int, ...] = ()


@dataclass(frozen=True)
class Strip:
    """One group: the channels that it reads and those that it makes. ``extra`` in the second path."""

    label: str
    reads: Cells
    makes: Cells
    extra: bool = False


@dataclass(frozen=True)
class GroupsPanel:
    """The groups of a layer; a text stands for those that are left out."""

    rows: tuple[Strip | str, ...]


@dataclass(frozen=True)
class Turn:
    """Channels that an interleave takes from afar and puts side by side, from ``start`` on."""

    label: str
    channels: tuple[int, ...]
    start: int


@dataclass(frozen=True)
class InterleavePanel:
    """Where an interleave puts ``channels`` channels: the first two turns and the last one."""

    channels: int
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class SumPanel:
    """K and L, added channel by channel."""


Panel = GroupsPanel | InterleavePanel | SumPanel
Colour = Callable[[int], int]


def _cells(channels: Sequence[int], colour: Colour, again: Sequence[int] = ()) -> Cells:
    places: list[int | None] = list(range(len(channels)))
    if len(channels) > SHOWN_CELLS:
        half = SHOWN_CELLS // 2
        places[half : 1 - half] = [None]
    drawn = tuple(None if place is None else colour(channels[place]) for place in places)
    marked = tuple(index for index, place in enumerate(places) if place in set(again))
    return Cells(_label(tuple(channels)), drawn, marked)


def _label(channels: tuple[int, ...]) -> str:
    """Channel numbers in short; where they are scattered, the first of them only."""
    text = span(channels, GLYPHS)
    return text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 3].rpartition(',')[0]}, …"


def groups_panel(paths: Sequence[ChannelPath], colour: Colour | None = None) -> GroupsPanel:
    """The groups of ``paths``; what they read has the colour of the group, or that which ``colour`` gives a channel.

    >>> from kswap.report.channel_paths import paths_of
    >>> panel = groups_panel(paths_of(GroupedLayout.of(14, 10, ch=4), list(range(14))))
    >>> panel.rows[3].reads
    Cells(label='12–13, 0–1', colours=(3, 3, 3, 3), again=(2, 3))
    """
    rows: list[Strip | str] = []
    before = 0
    for path in paths:
        count = len(path.reads)
        for index in shown_groups(count):
            if index is None:
                rows.append(f"{count - len(shown_groups(count)) + 1:,} more {path.name}s")
                continue
            number = (before + index) % COLOURS

            def own(_: int, number: int = number) -> int:
                return number

            reads = _cells(path.reads[index], colour or own, path.again[index])
            makes = _cells(path.makes[index], own)
            word = "extra" if before else path.name
            rows.append(Strip(f"{word} {index + 1}", reads, makes, extra=before > 0))
        before += count
    return GroupsPanel(tuple(rows))


def dense_panel(inputs: int, outputs: int, label: str) -> GroupsPanel:
    """A layer in which every output reads every input."""

    def colour(_: int) -> int:
        return 0

    return GroupsPanel((Strip(label, _cells(range(inputs), colour), _cells(range(outputs), colour)),))


def maker_of(layout: GroupedLayout) -> Colour:
    """The colour of the group that makes a channel of ``layout``."""
    first = layout.groups * layout.filters_per_group

    def colour(channel: int) -> int:
        group = channel // layout.filters_per_group if channel < first else layout.groups + channel - first
        return group % COLOURS

    return colour


def interleave_panel(channels: int, step: int) -> InterleavePanel:
    """The interleave of so many channels with this step.

    >>> [(turn.label, turn.start) for turn in interleave_panel(320, 20).turns]
    [('0, 20, …, 300', 0), ('1, 21, …, 301', 16), ('19, 39, …, 319', 304)]
    """
    order = interleave_order(channels, step)
    turns = []
    for first in dict.fromkeys((0, 1, step - 1)):
        own = tuple(range(first, channels, step))
        turns.append(Turn(span(own, GLYPHS), own, order.index(first)))
    return InterleavePanel(channels, tuple(turns))
