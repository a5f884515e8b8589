"""What differs between two reports, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kswap.codec import encode
from kswap.report.projection import Accuracy
from kswap.report.provenance import Provenance
from kswap.report.provenance_wording import short_hash, value_text, weights_text
from kswap.report.report import SHAPE_KEYS, Change, Report, SiteRow
from kswap.report.showing import Shown
from kswap.report.wording import plural, report_settings

# What makes a site different. Ch, scheme and reason are not here: a site that comes out the same is the same.
COMPARED = (
    "action",
    "in_channels",
    "out_channels",
    "stride",
    "placement",
    "kind",
    *SHAPE_KEYS,
    "norm",
    "activation",
    "params_before",
    "params_after",
)


@dataclass(frozen=True)
class SettingChange:
    """One setting that differs, as text. ``of_original`` if it says how the original was built."""

    name: str
    before: str
    after: str
    of_original: bool = False

    def to_json(self) -> dict[str, str]:
        return {"setting": self.name, "before": self.before, "after": self.after}


@dataclass(frozen=True)
class SiteChange:
    """One site that both reports have and that differs; ``fields`` are the JSON keys that do."""

    before: SiteRow
    after: SiteRow
    fields: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.after.name

    @property
    def params(self) -> Change:
        """Parameters of the site after the first conversion and after the second."""
        return Change(self.before.params_after, self.after.params_after)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "fields": list(self.fields),
            "before": self.before.to_json(),
            "after": self.after.to_json(),
        }


@dataclass(frozen=True)
class ErrorChange:
    """The error of the fit at one site, in both reports."""

    name: str
    before: float
    after: float

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "before": self.before, "after": self.after}


@dataclass(frozen=True)
class AccuracyChange:
    """The accuracy after one stage on the same data; ``None`` in the report that has none."""

    stage: str
    data: str
    before: Accuracy | None
    after: Accuracy | None

    def to_json(self) -> dict[str, Any]:
        values = {"before": self.before, "after": self.after}
        return {"stage": self.stage, "data": self.data} | {
            key: {"top1": value.top1, "images": value.images} if value else None for key, value in values.items()
        }


@dataclass(frozen=True)
class ReportDiff(Shown):
    """Two reports side by side; printed, what ``kswap diff`` shows.

    ``provenance`` is what differs in where they come from, dates and commands aside: what made the originals comes
    first. It is empty where one of the reports has none. ``totals`` compare the two converted models, ``originals``
    the models that they were made from, both by the JSON key of the total. ``unchanged`` is the number of sites that
    are the same: errors of fits and accuracies do not make a site another one, and stand in ``errors`` (where both
    reports have one, and they differ) and ``accuracies`` (where either has one, and they differ).
    """

    before: Report
    after: Report
    totals: dict[str, Change]
    originals: dict[str, Change]
    settings: tuple[SettingChange, ...]
    only_before: tuple[SiteRow, ...]
    only_after: tuple[SiteRow, ...]
    changed: tuple[SiteChange, ...]
    unchanged: int
    errors: tuple[ErrorChange, ...] = ()
    accuracies: tuple[AccuracyChange, ...] = ()
    provenance: tuple[SettingChange, ...] = ()

    @property
    def outside(self) -> Change:
        """Parameters of the converted models that belong to no site, those of the classifier for one."""
        before, after = (
            max(report.params.after - sum(row.params_after for row in report.sites), 0)
            for report in (self.before, self.after)
        )
        return Change(before, after)

    @property
    def origin(self) -> tuple[SettingChange, ...]:
        """What differs in how the originals were built; empty where a report does not say."""
        return tuple(change for change in self.provenance if change.of_original)

    @property
    def same(self) -> bool:
        """Nothing differs: provenance (dates and commands aside), settings, totals, sites, errors and accuracies."""
        counts = (*self.totals.values(), *self.originals.values())
        sites = (*self.only_before, *self.only_after, *self.changed)
        others = (self.provenance, self.settings, sites, self.errors, self.accuracies)
        return not any(others) and all(change.before == change.after for change in counts)

    @property
    def same_originals(self) -> bool:
        return all(change.before == change.after for change in self.originals.values())

    def to_json(self) -> dict[str, Any]:
        """``before`` and ``after`` are the first and the second report; counts are of the converted models,
        those under ``originals`` of the models that they were made from."""

        def counts(totals: dict[str, Change]) -> dict[str, Any]:
            return {key: change.to_json() | {"delta": delta(change)} for key, change in totals.items()}

        return {
            "same": self.same,
            "provenance": {
                "before": encode(self.before.provenance),
                "after": encode(self.after.provenance),
                "differences": [change.to_json() for change in self.provenance],
            },
            "settings": [setting.to_json() for setting in self.settings],
            "totals": counts(self.totals),
            "originals": counts(self.originals),
            "outside": self.outside.to_json() | {"delta": delta(self.outside)},
            "only_before": [row.to_json() for row in self.only_before],
            "only_after": [row.to_json() for row in self.only_after],
            "changed": [change.to_json() for change in self.changed],
            "unchanged": self.unchanged,
            "fit_errors": [change.to_json() for change in self.errors],
            "accuracies": [change.to_json() for change in self.accuracies],
        }


def delta(change: Change) -> int:
    """The difference, after - before."""
    return change.after - change.before


def _all_settings(report: Report) -> dict[str, str]:
    drop_in = "yes" if report.drop_in else "no"
    return {
        "model": report.model,
        "kind": report.kind,
        **report_settings(report),
        "weights": _weights(report),
        "drop-in": drop_in,
        "kswap": report.kswap,
    }


def _weights(report: Report) -> str:
    record = report.projection
    return f"fitted on {plural(record.images, 'image')}, seed {record.seed}" if record else "not fitted"


def _origins(before: Provenance | None, after: Provenance | None) -> tuple[SettingChange, ...]:
    """What differs in where two reports come from; dates and commands always do, and are not compared."""
    if before is None or after is None:
        return ()
    first, second = _made_from(before), _made_from(after)
    named = dict.fromkeys((*first, *second))
    originals = [(name, first.get(name, "not given"), second.get(name, "not given"), True) for name in named]
    first, second = _made_with(before), _made_with(after)
    named = dict.fromkeys((*first, *second))
    others = [(name, first.get(name, "none"), second.get(name, "none"), False) for name in named]
    return tuple(SettingChange(*row) for row in (*originals, *others) if row[1] != row[2])


def _made_from(origin: Provenance) -> dict[str, str]:
    """How the original was built, by label."""
    model = origin.model
    arguments = {name: value_text(value) for name, value in model.arguments.items()}
    return {"source": f"{model.kind} {model.name}", **arguments}


def _made_with(origin: Provenance) -> dict[str, str]:
    """What else decided the result, by label; the version of kswap is a setting."""
    return {
        "hash of the original": short_hash(origin.base_hash) or "none",
        "weights of the original": origin.model.weights or "none",
        "weights of the blocks": weights_text(origin) or "none",
        "text of the rules": short_hash(origin.rules.sha256) or "none",
        "seed": "none" if origin.seed is None else str(origin.seed),
        **{name: version for name, version in origin.versions.items() if version and name != "kswap"},
    }


def _errors(pairs: list[tuple[SiteRow, SiteRow]]) -> tuple[ErrorChange, ...]:
    return tuple(
        ErrorChange(new.name, old.fit_error, new.fit_error)
        for old, new in pairs
        if old.fit_error is not None and new.fit_error is not None and old.fit_error != new.fit_error
    )


def _accuracies(before: Report, after: Report) -> tuple[AccuracyChange, ...]:
    olds, news = (
        {(accuracy.stage, accuracy.data): accuracy for accuracy in report.projection.accuracies}
        if report.projection
        else {}
        for report in (before, after)
    )
    return tuple(
        AccuracyChange(*key, olds.get(key), news.get(key))
        for key in dict.fromkeys((*olds, *news))
        if olds.get(key) != news.get(key)
    )


def _differing(before: SiteRow, after: SiteRow) -> tuple[str, ...]:
    compared = COMPARED if before.replaced or after.replaced else [key for key in COMPARED if key != "placement"]
    first, second = before.to_json(), after.to_json()
    return tuple(key for key in compared if first[key] != second[key])


def diff_reports(before: Report, after: Report) -> ReportDiff:
    """Compare two reports. Sites are the same when their names are; ``changed`` is in the order of ``after``.

    MACs do not make a site different, because they follow the input size, which is a setting.
    """
    olds = {row.name: row for row in before.sites}
    news = {row.name: row for row in after.sites}
    pairs = [(olds[name], row) for name, row in news.items() if name in olds]
    changes = [SiteChange(old, new, _differing(old, new)) for old, new in pairs]
    changed = tuple(change for change in changes if change.fields)
    theirs, ours = _all_settings(before), _all_settings(after)
    return ReportDiff(
        before=before,
        after=after,
        totals={key: Change(before.totals[key].after, after.totals[key].after) for key in before.totals},
        originals={key: Change(before.totals[key].before, after.totals[key].before) for key in before.totals},
        settings=tuple(SettingChange(key, theirs[key], ours[key]) for key in ours if theirs[key] != ours[key]),
        only_before=tuple(row for row in before.sites if row.name not in news),
        only_after=tuple(row for row in after.sites if row.name not in olds),
        changed=changed,
        unchanged=len(pairs) - len(changed),
        errors=_errors(pairs),
        accuracies=_accuracies(before, after),
        provenance=_origins(before.provenance, after.provenance),
    )
