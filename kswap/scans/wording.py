"""The words and cells that all renderers of a scan share."""

from __future__ import annotations

from kswap.report.wording import percent, plural
from kswap.scans.result import Row, Scan

ORIGINAL = "original"
# Heads of the columns that hold words.
TEXT_HEADS = ("kind", "scheme", "verdict")


def heads(scan: Scan) -> tuple[str, ...]:
    """What stands above the columns after the model; those are numbers, but for the kind of block and the scheme."""
    kinds = ("kind",) if shows_kinds(scan) else ()
    times = ("ms", "ratio", "95%", "verdict") if scan.latency is not None else ()
    accuracies = ("accuracy",) if scan.training is not None else ()
    return (*kinds, "scheme", "Ch", "front", "parameters", "left", "MACs", "left", "blocks", *times, *accuracies)


def cells(scan: Scan, row: Row) -> tuple[str, ...]:
    """The cells below :func:`heads`."""
    trial = row.trial
    kinds = (trial.kind or "",) if shows_kinds(scan) else ()
    found = [
        *kinds,
        trial.scheme or ORIGINAL,
        "" if trial.ch is None else str(trial.ch),
        "".join(quantity.mark for quantity in scan.marks(row)),
        f"{row.params.after:,}",
        percent(row.params.ratio),
        f"{row.macs.after:,}",
        percent(row.macs.ratio),
        "" if trial.is_original else f"{row.replaced}/{row.sites}",
    ]
    if scan.latency is not None:
        found += _times(row)
    if scan.training is not None:
        found.append("" if row.trained is None else f"{row.trained.top1:.2%}")
    return tuple(found)


def shows_kinds(scan: Scan) -> bool:
    """Whether there is any other kind of block than the grouped one."""
    return any(row.trial.kind not in (None, "grouped") for row in scan.rows)


def _times(row: Row) -> tuple[str, str, str, str]:
    if row.ms is None:
        return "", "", "", ""
    if row.latency is None:
        return f"{row.ms:.2f}", "1.00", "", ""
    found = row.latency
    interval = "" if found.low is None or found.high is None else f"{found.low:.2f}-{found.high:.2f}"
    return f"{row.ms:.2f}", f"{found.ratio:.2f}", interval, found.verdict


def title(scan: Scan) -> str:
    """``2 models, 8 networks``."""
    networks = sum(not row.trial.is_original for row in scan.rows)
    return f"{plural(len(scan.models), 'model')}, {plural(networks, 'network')}"


def remarks(scan: Scan) -> tuple[str, ...]:
    """What a reader has to know to read the table, one sentence each."""
    lines = [front_in_words(scan)]
    align = scan.planning.align
    if align is not None:
        lines.append(f"inputs and filters of groups are multiples of {align} where channel numbers allow it")
    if scan.latency is not None:
        asked = scan.latency
        lines.append(
            f"ratio = original time / own time of one pass in {asked.target}, batch {asked.batch}, with its 95% "
            "interval; in turns in one process, both treated alike; ms is the median"
        )
    if scan.training is not None:
        made, epochs = scan.training, scan.training.recipe.epochs
        lines.append(
            f"accuracy on {made.tested} after training from fresh weights, the original too: recipe {made.name}, "
            f"{epochs:g} epoch{'' if epochs == 1 else 's'}, seed {made.seed}"
        )
    if scan.machine is not None:
        lines.append(f"{scan.machine.hardware()}; {scan.machine.software()}; {scan.machine.date}")
    return (*lines, *scan.notes)


def front_in_words(scan: Scan) -> str:
    """What the marks in the column mean."""
    costs = ", ".join(f"{x.words} ({x.mark})" for x, _ in scan.pairs)
    where = "" if len(scan.models) == 1 else ", all models together" if scan.joint else ", each model by itself"
    return (
        f"front: Pareto front of {costs} against {scan.pairs[0][1].words}{where}; no other network there is as good in "
        "both and better in one"
    )
