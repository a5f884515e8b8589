"""Rules as values: what a rule sets, the rule, and the set of them that a file holds. JSON in and out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from kswap.errors import PlanError, RuleError
from kswap.planner.activations import ACTIVATIONS
from kswap.planner.alignment import check_align
from kswap.planner.kinds import BLOCK_KINDS
from kswap.planner.kinds.kind import check_rank
from kswap.planner.schemes import SCHEMES, check_ch
from kswap.planner.site_plan import PLACEMENTS
from kswap.planner.sites import CONVOLUTIONS, LAYER_KINDS
from kswap.rules.checking import check_flag, check_table, check_text, check_word, toml_text
from kswap.rules.matching import Match

DEFAULT_KEYS = ("kind", "scheme", "ch", "second_layer", "sum", "align", "rank", "placement", "activation")
SETTING_KEYS = ("keep", *DEFAULT_KEYS)
RULE_KEYS = ("match", *SETTING_KEYS, "why")
FILE_KEYS = ("description", "match", *DEFAULT_KEYS, "swap_activations", "rule")


@dataclass(frozen=True)
class SiteSettings:
    """What a rule, or the head of a rule file, sets. ``None`` leaves a key to those that come after."""

    keep: bool | None = None
    scheme: str | None = None
    ch: int | None = None
    second_layer: bool | None = None
    placement: str | None = None
    activation: str | None = None
    kind: str | None = None
    sum: bool | None = None
    rank: int | None = None
    align: int | None = None

    def __post_init__(self) -> None:
        for label in ("keep", "second_layer", "sum"):
            if getattr(self, label) is not None:
                check_flag(getattr(self, label), label)
        words: dict[str, Iterable[str]] = {
            "kind": BLOCK_KINDS,
            "scheme": SCHEMES,
            "placement": PLACEMENTS,
            "activation": ACTIVATIONS,
        }
        for label, known in words.items():
            if getattr(self, label) is not None:
                check_word(getattr(self, label), known, label)
        for check, number in ((check_ch, self.ch), (check_rank, self.rank), (check_align, self.align)):
            if number is not None:
                try:
                    check(number)
                except PlanError as error:
                    raise RuleError(str(error)) from error
        if self.rank is not None and self.kind is not None and "rank" not in BLOCK_KINDS[self.kind].keys:
            raise RuleError(f"{_an(self.kind)} block has no rank; leave out rank, or set kind = 'low-rank'")
        if self.align is not None and self.kind is not None and "align" not in BLOCK_KINDS[self.kind].keys:
            raise RuleError(f"{_an(self.kind)} block has no groups to align; leave out align, or set another kind")
        takes_in = self.kind is None or BLOCK_KINDS[self.kind].plan_class.absorbs
        if self.placement == "absorbed" and not takes_in:
            raise RuleError(f"{_an(self.kind)} block takes in no norm or activation; leave out placement")
        if self.placement == "linear" and self.activation is not None:
            raise RuleError("an activation has no place in a linear block; leave out activation or placement")

    @property
    def stated(self) -> tuple[str, ...]:
        """The keys that are set."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name) is not None)

    def to_json(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in self.stated}


def _an(kind: str | None) -> str:
    """A kind of block with its article, for messages."""
    return f"{'an' if str(kind)[0] in 'aeiou' else 'a'} {kind}"


@dataclass(frozen=True)
class Rule:
    """One ``[[rule]]`` table: what it asks of a site, what it sets, and why."""

    match: Match
    settings: SiteSettings
    why: str | None = None

    def __post_init__(self) -> None:
        if not self.settings.stated:
            raise RuleError(f"it sets nothing; add one of {', '.join(SETTING_KEYS)}, or take the rule out")
        if self.why is not None:
            check_text(self.why, "why")

    def to_json(self) -> dict[str, Any]:
        why = {} if self.why is None else {"why": self.why}
        return {"match": self.match.to_json(), **self.settings.to_json(), **why}

    @classmethod
    def from_json(cls, data: Any) -> Rule:
        """Read a ``[[rule]]`` table. Raises :class:`RuleError` for anything else."""
        table = check_table(data, RULE_KEYS, "a rule")
        if "match" not in table:
            raise RuleError("it has no match; say which sites it means")
        settings = SiteSettings(**{key: table[key] for key in SETTING_KEYS if key in table})
        return cls(Match.from_json(table["match"]), settings, table.get("why"))


def rule_label(number: int, rule: Any) -> str:
    """``rule 2 (name = 'blocks.*')``: how messages call a rule, be it read already or still a table."""
    table = rule.to_json() if isinstance(rule, Rule) else rule
    match = table.get("match") if isinstance(table, dict) else None
    return f"rule {number} ({toml_text(match)[1:-1]})" if isinstance(match, dict) and match else f"rule {number}"


@dataclass(frozen=True)
class RuleSet:
    """A whole rule file. ``name`` is that of the preset or the file; ``defaults`` is its head.

    ``swap_activations`` exchanges activations over the whole network: class names to names of activations.
    ``kinds`` (``match`` in the file) are the kinds of layers that are sites at all. ``text`` is that of the file, empty
    for rules that stand in none, or were changed.
    """

    name: str
    description: str = ""
    defaults: SiteSettings = SiteSettings()
    rules: tuple[Rule, ...] = ()
    swap_activations: Mapping[str, str] = field(default_factory=dict)
    kinds: tuple[str, ...] = CONVOLUTIONS
    text: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        for kind in self.kinds:
            check_word(kind, LAYER_KINDS, "match at the head of the file")
        check_text(self.name, "name")
        check_text(self.description, "description")
        if not isinstance(self.swap_activations, dict):
            raise RuleError(
                f"swap_activations must be a table such as {{ SiLU = 'relu' }}, not {self.swap_activations!r}"
            )
        for kind, activation in self.swap_activations.items():
            check_word(activation, ACTIVATIONS, f"swap_activations of {kind}")
        if self.defaults.keep is not None:
            raise RuleError("keep belongs into a rule, not into the head of the file")

    def to_json(self) -> dict[str, Any]:
        """The shape of the TOML file, and the name: for a saved plan."""
        rules = [rule.to_json() for rule in self.rules]
        head = {"name": self.name, "description": self.description, **self.defaults.to_json()}
        swap = {"swap_activations": dict(self.swap_activations)} if self.swap_activations else {}
        match = {"match": list(self.kinds)} if self.kinds != CONVOLUTIONS else {}
        return {**head, **match, **swap, "rule": rules}

    @classmethod
    def from_json(cls, data: Any, name: str = "rules") -> RuleSet:
        """Read what :meth:`to_json` wrote, or the table of a TOML file. ``name`` is for data that has none.

        Raises :class:`RuleError` with one sentence that names the rule.
        """
        table = check_table(data, ("name", *FILE_KEYS), "the rules")
        listed = table.get("rule", [])
        if not isinstance(listed, list):
            raise RuleError("rule must be a list of tables; write [[rule]] with two brackets")
        rules = []
        for number, rule in enumerate(listed, start=1):
            try:
                rules.append(Rule.from_json(rule))
            except RuleError as error:
                raise RuleError(f"{rule_label(number, rule)}: {error}") from error
        swap = table.get("swap_activations", {})
        kinds = table.get("match", list(CONVOLUTIONS))
        if not isinstance(kinds, list) or not kinds:
            raise RuleError(f"match at the head of the file must be a list such as ['conv', 'linear'], not {kinds!r}")
        return cls(
            name=table.get("name", name),
            description=table.get("description", ""),
            defaults=SiteSettings(**{key: table[key] for key in DEFAULT_KEYS if key in table}),
            rules=tuple(rules),
            swap_activations=swap,
            kinds=tuple(kinds),
        )
