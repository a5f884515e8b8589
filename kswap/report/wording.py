"""The words and number formats that all renderers share, so that every format says the same."""

from __future__ import annotations

import math
from collections.abc import Iterable

from kswap.report.report import Report, SiteRow

TOTAL_LABELS = {
    "params": "parameters",
    "trainable_params": "trainable parameters",
    "macs": "MACs",
    "computations": "computations",
}
COUNTS_GLOSSARY = (
    "Counts are for batch 1. A MAC is one multiply-accumulate of a convolution or matrix product; computations "
    "are the count that the kEffNet papers print. What is left is after / before."
)


def percent(ratio: float) -> str:
    """A ratio as a percentage; only a ratio of exactly 1 reads ``100%``.

    >>> percent(0.155018), percent(1.0), percent(1.0001), percent(0.0002)
    ('15.5%', '100%', '100.0%', '<0.1%')
    """
    if ratio == 1:
        return "100%"
    return "<0.1%" if 0 < ratio < 0.0005 else f"{100 * ratio:.1f}%"


def compact(number: int) -> str:
    """A count in three significant digits with K, M, G or T.

    >>> compact(950), compact(10_240), compact(368_640), compact(389_969_098), compact(999_999)
    ('950', '10.2K', '369K', '390M', '1.00M')
    """
    if abs(number) < 1000:
        return str(number)
    # Rounding first: 999,999 has to become 1.00M, not 1000K.
    rounded = round(number, 2 - math.floor(math.log10(abs(number))))
    power = min((len(str(abs(rounded))) - 1) // 3, 4)
    scaled = rounded / 1000**power
    decimals = 2 - math.floor(math.log10(abs(scaled)))
    return f"{scaled:,.{max(decimals, 0)}f}{'KMGT'[power - 1]}"


def signed(number: int) -> str:
    """A difference with its sign.

    >>> signed(1200), signed(-1200), signed(0)
    ('+1,200', '-1,200', '0')
    """
    return f"{number:+,}" if number else "0"


def plural(number: int, noun: str) -> str:
    """``1 site``, ``2 sites``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def size(input_size: tuple[int, ...], times: str = "x") -> str:
    """``3x224x224``."""
    return times.join(str(n) for n in input_size) or "unknown"


def report_settings(report: Report, times: str = "x") -> dict[str, str]:
    """What the conversion was asked for, by label, without the model."""
    kind = {} if report.kind == "grouped" else {"kind": report.kind}
    return kind | {
        "scheme": report.scheme,
        "ch": str(report.ch),
        "rules": report.rules or "none",
        "input": size(report.input_size, times),
    }


def is_linear(row: SiteRow) -> bool:
    """Whether the layer at a site is a linear layer (one of ``torch.nn.Linear`` or GPT-2's ``Conv1D``)."""
    return "Linear" in row.type or row.type == "Conv1D"


def site_words(rows: Iterable[SiteRow], both: str = " and ") -> tuple[str, str]:
    """What the layers at these sites are, in the singular and in the plural, joined by ``both``."""
    linear = {is_linear(row) for row in rows} or {False}
    words = [word for kind, word in ((False, "pointwise convolution"), (True, "linear layer")) if kind in linear]
    return both.join(words), both.join(f"{word}s" for word in words)


def tally(report: Report) -> str:
    """``50 of 64 pointwise convolutions replaced, 14 kept``; ``linear layers`` where the sites are such."""
    one, many = site_words(report.sites)
    count = len(report.sites)
    sites = one if count == 1 else many
    return f"{len(report.replaced)} of {count:,} {sites} replaced, {len(report.kept)} kept"


def one_line(report: Report) -> str:
    """What a report comes to, on one line."""
    counts = [
        f"{change.after:,} of {change.before:,} {TOTAL_LABELS[key]} ({percent(change.ratio)} left)"
        for key, change in (("params", report.params), ("macs", report.macs))
    ]
    drop_in = "drop-in" if report.drop_in else "no drop-in"
    return f"{report.model}: {', '.join(counts)}, {tally(report)}, {drop_in}"


def drop_in_text(report: Report) -> str:
    """``yes`` or ``no``, with what that means."""
    if report.drop_in:
        return "yes (same class and methods as the original)"
    return "no (the result is a GraphModule; the notes say why)"


def sites_by_reason(rows: tuple[SiteRow, ...]) -> dict[str, list[SiteRow]]:
    """Sites grouped by their reason, in the order in which the reasons first appear."""
    groups: dict[str, list[SiteRow]] = {}
    for row in rows:
        groups.setdefault(row.reason, []).append(row)
    return groups
