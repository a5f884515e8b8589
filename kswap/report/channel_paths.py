"""Which channels the groups of a grouped layer read and make, and the lines of a drawing of that in plain text."""

from __future__ import annotations

from dataclasses import dataclass

from kswap.planner.layout import GroupedLayout
from kswap.report.glyphs import Glyphs

SHOWN_GROUPS = 3  # groups of a path that a drawing shows before it elides
SHOWN_RUNS = 3  # runs of channels that one line of a drawing shows before it elides


@dataclass(frozen=True)
class ChannelPath:
    """One path of a grouped layer as it is drawn: the channels that each group reads and makes.

    ``again`` are the places of each group whose channels another group reads too, because they are replicated.
    """

    name: str
    reads: tuple[tuple[int, ...], ...]
    makes: tuple[tuple[int, ...], ...]
    again: tuple[tuple[int, ...], ...]


def paths_of(layout: GroupedLayout, source: list[int]) -> list[ChannelPath]:
    """The paths of a layer whose input channel ``i`` is channel ``source[i]`` of what the drawing names.

    >>> first, second = paths_of(GroupedLayout.of(14, 10, ch=4), list(range(14)))
    >>> second.reads, second.makes
    (((0, 1, 2, 3), (4, 5, 6, 7)), ((8,), (9,)))
    >>> first.reads[3], first.again[3]
    ((12, 13, 0, 1), (2, 3))
    """
    order = [source[channel] for channel in layout.read_order()]
    width, filters = layout.group_width, layout.filters_per_group

    def path(name: str, groups: int, filters: int, first_output: int) -> ChannelPath:
        reads = tuple(tuple(order[g * width : (g + 1) * width]) for g in range(groups))
        again = tuple(
            tuple(place for place in range(width) if g * width + place >= layout.in_channels) for g in range(groups)
        )
        starts = range(first_output, first_output + groups * filters, filters)
        return ChannelPath(name, reads, tuple(tuple(range(start, start + filters)) for start in starts), again)

    first = path("group", layout.groups, filters, 0)
    if not layout.extra_groups:
        return [first]
    return [first, path("extra group", layout.extra_groups, 1, layout.groups * filters)]


def shown_groups(count: int) -> list[int | None]:
    """The numbers of the groups that a drawing shows; ``None`` stands for those that it leaves out.

    A single group is never left out: the line that says so would be as long.

    >>> shown_groups(5), shown_groups(72)
    ([0, 1, 2, 3, 4], [0, 1, 2, None, 71])
    """
    if count <= SHOWN_GROUPS + 2:
        return list(range(count))
    return [*range(SHOWN_GROUPS), None, count - 1]


def _runs(channels: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Channels cut into runs of an even step."""
    runs: list[list[int]] = []
    for channel in channels:
        if runs and (len(runs[-1]) == 1 or channel - runs[-1][-1] == runs[-1][-1] - runs[-1][-2]):
            runs[-1].append(channel)
        else:
            runs.append([channel])
    return [tuple(run) for run in runs]


def span(channels: tuple[int, ...], glyphs: Glyphs) -> str:
    """Channel numbers in short: ranges, and the first numbers of an even step.

    >>> span((12, 13, 0, 1), Glyphs(ascii_only=True)), span(tuple(range(0, 320, 20)), Glyphs(ascii_only=True))
    ('12-13, 0-1', '0, 20, ..., 300')
    """

    def run_text(run: tuple[int, ...]) -> str:
        if len(run) == 1:
            return str(run[0])
        if run[1] - run[0] == 1:
            return f"{run[0]}{glyphs.dash}{run[-1]}"
        if len(run) <= 4:
            return ", ".join(map(str, run))
        return f"{run[0]}, {run[1]}, {glyphs.ellipsis}, {run[-1]}"

    runs = _runs(channels)
    shown = [run_text(run) for run in runs[:SHOWN_RUNS]]
    return ", ".join([*shown, glyphs.ellipsis] if len(runs) > SHOWN_RUNS else shown)


def drawing(paths: list[ChannelPath], inputs: str, outputs: str, glyphs: Glyphs) -> list[str]:
    """The lines of the drawing: one per group, left the channels that it reads, right those that it makes."""
    rows = [(inputs, "", outputs, "")]
    line = "-->" if glyphs.ascii_only else "──▶"
    for path in paths:
        for index in shown_groups(len(path.reads)):
            if index is None:
                more = f"{glyphs.ellipsis} {len(path.reads) - SHOWN_GROUPS - 1:,} more"
                rows.append((glyphs.ellipsis, "", more, ""))
            else:
                makes = span(path.makes[index], glyphs)
                rows.append((span(path.reads[index], glyphs), line, makes, f"{path.name} {index + 1}"))
    left, right = (max(len(row[side]) for row in rows) for side in (0, 2))
    return [f"{reads:>{left}}  {arrow:3}  {makes:<{right}}  {label}".rstrip() for reads, arrow, makes, label in rows]
