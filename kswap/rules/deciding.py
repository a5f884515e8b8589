"""From rules and sites to decisions, and to the rules that decided nothing. Pure functions."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from kswap.planner.kinds.kind import BlockSettings
from kswap.planner.sites import Site
from kswap.rules.matching import REGEX_PREFIX, Range, Specificity, names
from kswap.rules.ruleset import Rule, RuleSet, rule_label

_BLOCK_KEYS = tuple(f.name for f in fields(BlockSettings))


@dataclass(frozen=True)
class Decision:
    """What the rules say about one site.

    ``why`` is the reason for the reader: why the site is kept, else the ``why`` of the rules that decided
    something, else ``None``. ``block`` says what to plan. ``activation`` is ``None`` when the site's own one stays.
    ``matched`` holds the places of the rules that match, counted from 0 in the order of the file.
    """

    keep: bool
    why: str | None
    block: BlockSettings
    placement: str
    activation: str | None
    matched: tuple[int, ...]


def decide(rules: RuleSet, site: Site, asked: BlockSettings, placement: str = "absorbed") -> Decision:
    """What ``rules`` say about ``site``; ``asked`` and ``placement`` are for what no rule and no head of a file sets.

    The precedence is that of :mod:`kswap.rules`. A site that its structure keeps (``site.keep_reason``) stays kept; one
    that stays unless it is asked for (``site.opt_in_reason``) needs a rule that matches by name or role.

    >>> from kswap.rules import load_rules
    >>> rules = load_rules({"rule": [{"match": {"role": "projection"}, "keep": True, "why": "thin already"}]})
    >>> decision = decide(rules, Site("proj", 64, 16, role="projection"), BlockSettings())
    >>> decision.keep, decision.why, decision.matched
    (True, 'thin already', (0,))
    """
    found = [(rule.match.specificity(site), index) for index, rule in enumerate(rules.rules)]
    ranked: list[tuple[Specificity, int]] = sorted((rank, index) for rank, index in found if rank is not None)
    decider = {
        key: index
        for _, index in ranked
        for key in rules.rules[index].settings.stated
        if key != "keep" or site.opt_in_reason is None or _asks_for(rules.rules[index])
    }
    chosen: dict[str, Any] = {
        "keep": site.opt_in_reason is not None,
        **{name: getattr(asked, name) for name in _BLOCK_KEYS},
        "placement": placement,
        "activation": None,
    }
    chosen |= rules.defaults.to_json()
    chosen |= {key: getattr(rules.rules[index].settings, key) for key, index in decider.items()}
    reasons = [rules.rules[index].why for index in sorted(set(decider.values()))]
    why = "; ".join(reason for reason in reasons if reason) or None
    if chosen["keep"] and "keep" not in decider:
        why = site.opt_in_reason
    elif chosen["keep"]:
        why = rules.rules[decider["keep"]].why or f"kept by rule {decider['keep'] + 1} of {rules.name}"
    if site.keep_reason is not None:
        chosen["keep"], why = True, site.keep_reason
    block = BlockSettings(**{name: chosen.pop(name) for name in _BLOCK_KEYS})
    return Decision(why=why, block=block, matched=tuple(sorted(index for _, index in ranked)), **chosen)


def _asks_for(rule: Rule) -> bool:
    """Whether a rule that sets ``keep`` counts for a site that stays unless it is asked for."""
    return bool(rule.settings.keep or rule.match.name or rule.match.role)


def unused(rules: RuleSet, sites: Iterable[Site]) -> tuple[str, ...]:
    """One sentence for each rule that matches none of the sites, and for each name in a list that fits none.

    >>> from kswap.rules import load_rules
    >>> rules = load_rules({"rule": [{"match": {"name": "blocks.9.*"}, "ch": 8}]})
    >>> unused(rules, [Site("blocks.6.0.conv_pw", 192, 1152), Site("conv_stem", 3, 32)])
    ("rule 1 (name = 'blocks.9.*') matched nothing; nearest: blocks.6.0.conv_pw",)
    """
    known = tuple(sites)
    sentences = []
    for number, rule in enumerate(rules.rules, start=1):
        if not any(rule.match.specificity(site) is not None for site in known):
            sentences.append(f"{rule_label(number, rule)} matched nothing; {_explain(rule, known)}")
        elif len(rule.match.name) > 1:
            idle = [pattern for pattern in rule.match.name if not any(names(pattern, site.name) for site in known)]
            for pattern in idle:
                sentences.append(
                    f"rule {number}: name = '{pattern}' matched nothing; {_nearest_names([pattern], known)}"
                )
    return tuple(sentences)


def _nearest_names(patterns: Iterable[str], sites: Sequence[Site]) -> str:
    known = [site.name for site in sites]
    stripped = [pattern.removeprefix(REGEX_PREFIX) for pattern in patterns]
    closest = [name for text in stripped for name in difflib.get_close_matches(text, known, n=1, cutoff=0.0)]
    return f"nearest: {', '.join(dict.fromkeys(closest))}"


def _explain(rule: Rule, sites: Sequence[Site]) -> str:
    """The first condition that no site meets, against what the sites have."""
    if not sites:
        return "the model has no sites"
    for key in rule.match.stated:
        if any(rule.match.meets(site, key) for site in sites):
            continue
        if key == "name":
            return _nearest_names(rule.match.name, sites)
        values = {getattr(site, key) for site in sites}
        if isinstance(getattr(rule.match, key), Range):
            return f"the sites have {key} from {min(values)} to {max(values)}"
        return f"the sites have {key} {', '.join(sorted(values))}"
    return "no site meets all of its conditions at once"
