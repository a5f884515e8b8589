"""Rules: matching, precedence, presets, and one clear sentence for every mistake in a rule file."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kswap.rules
from kswap.errors import RuleError
from kswap.planner import BLOCK_KINDS, BlockSettings
from kswap.planner.activations import ACTIVATIONS
from kswap.planner.schemes import SCHEMES
from kswap.planner.site_plan import PLACEMENTS
from kswap.planner.sites import ROLES, Site
from kswap.rules import (
    Decision,
    Match,
    Range,
    Rule,
    RuleSet,
    SiteSettings,
    Specificity,
    decide,
    load_rules,
    preset_directory,
    presets,
    unused,
)

quick = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])

SITE = Site("blocks.6.0.conv_pwl", 1152, 320, role="projection")
CALLER = BlockSettings(ch=8, scheme="v2")

# Name patterns that all fit SITE, by how exact they are (None: a rule without a name).
FITTING = {
    Specificity.EXACT: (SITE.name,),
    Specificity.REGEX: (r"re:blocks\..+", r"re:.*pwl", r"re:blocks\.6\.0\.conv_pwl"),
    Specificity.GLOB: ("blocks.*", "*", "blocks.?.0.conv_pwl", "blocks.[56].0.*"),
    Specificity.NO_NAME: (None,),
}
VALUES = {
    "keep": st.booleans(),
    "scheme": st.sampled_from(sorted(SCHEMES)),
    "ch": st.integers(1, 512),
    "second_layer": st.booleans(),
    "sum": st.booleans(),
    "kind": st.sampled_from(sorted(BLOCK_KINDS)),
    "placement": st.sampled_from(PLACEMENTS),
    "activation": st.sampled_from(sorted(ACTIVATIONS)),
}


def one_rule(match: dict, **parts: object) -> RuleSet:
    return load_rules({"rule": [{"match": match, **(parts or {"ch": 32})}]})


def matches(match: dict, site: Site = SITE) -> bool:
    return decide(one_rule(match), site, CALLER).matched == (0,)


def b0_sites() -> list[Site]:
    """The pointwise convolutions of timm's efficientnet_b0."""
    sites = []
    width = 32
    for stage, (repeats, out) in enumerate([(1, 16), (2, 24), (2, 40), (3, 80), (3, 112), (4, 192), (1, 320)]):
        for index in range(repeats):
            block, inner, squeezed = f"blocks.{stage}.{index}", width * (6 if stage else 1), width // 4
            if stage:
                sites.append(Site(f"{block}.conv_pw", width, inner, role="expansion"))
            sites.append(Site(f"{block}.se.conv_reduce", inner, squeezed, role="squeeze-excite"))
            sites.append(Site(f"{block}.se.conv_expand", squeezed, inner, role="squeeze-excite"))
            sites.append(Site(f"{block}.conv_pw{'l' if stage else ''}", inner, out, role="projection"))
            width = out
    return [*sites, Site("conv_head", 320, 1280, role="expansion")]


# Matching ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "match",
    [
        {"name": "blocks.6.0.conv_pwl"},
        {"name": "blocks.*"},
        {"name": "*.conv_pwl"},
        {"name": "blocks.?.0.conv_pw[lx]"},
        {"name": r"re:blocks\.\d\.0\.conv_pwl?"},
        {"name": ["head", "blocks.6.*"]},
        {"role": "projection"},
        {"role": ["expansion", "projection"]},
        {"type": "Conv2d"},
        {"type": ["Linear", "Conv2d"]},
        {"in_channels": 1152},
        {"in_channels": {"min": 1152}, "out_channels": {"max": 320}},
        {"in_channels": {"min": 1000, "max": 1152}},
        {"name": "blocks.*", "role": "projection", "type": "Conv2d", "in_channels": 1152, "out_channels": 320},
    ],
)
def test_match_fits(match: dict) -> None:
    assert matches(match)


@pytest.mark.parametrize(
    "match",
    [
        {"name": "blocks.6.0.conv_pw"},
        {"name": "Blocks.*"},
        {"name": "blocks"},
        {"name": "blocks.[!6].*"},
        {"name": r"re:conv_pwl"},
        {"name": r"re:blocks"},
        {"name": ["head", "stem"]},
        {"role": "expansion"},
        {"type": "Linear"},
        {"in_channels": 1151},
        {"in_channels": {"min": 1153}},
        {"out_channels": {"max": 319}},
        {"name": "blocks.*", "role": "expansion"},
        {"name": "blocks.6.0.conv_pwl", "in_channels": {"max": 64}},
    ],
)
def test_match_does_not_fit(match: dict) -> None:
    assert not matches(match)


@quick
@given(low=st.integers(1, 99), span=st.integers(0, 99), channels=st.integers(1, 200))
def test_ranges_include_both_ends(low: int, span: int, channels: int) -> None:
    site = Site("a", channels, 1)
    assert matches({"in_channels": {"min": low, "max": low + span}}, site) == (channels in range(low, low + span + 1))


# Precedence -------------------------------------------------------------------------------------------------


@st.composite
def ranked_rules(draw: st.DrawFn) -> tuple[Specificity, Rule]:
    """A rule that fits SITE, with how exact it is; sets one to three keys."""
    rank = draw(st.sampled_from(list(Specificity)))
    name = draw(st.sampled_from(FITTING[rank]))
    match = Match(name=(name,)) if name else Match(role=("projection",))
    keys = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=3, unique=True))
    chosen = {key: draw(VALUES[key]) for key in keys}
    if chosen.get("kind") in ("low-rank", "assigned"):
        chosen.pop("placement", None)
    if chosen.get("placement") == "linear":
        chosen.pop("activation", None)
    why = draw(st.sampled_from([None, "late stage", 'größer, "so to say"']))
    return rank, Rule(match, SiteSettings(**chosen), why)


def decided(decision: Decision, key: str) -> object:
    """What was decided about a key of a rule."""
    return getattr(decision if hasattr(decision, key) else decision.block, key)


def test_patterns_have_the_rank_they_are_listed_under() -> None:
    for rank, patterns in FITTING.items():
        for pattern in patterns:
            match = Match(name=(pattern,)) if pattern else Match(role=("projection",))
            assert match.specificity(SITE) is rank


def test_the_most_exact_name_of_a_list_counts() -> None:
    assert Match(name=("*", SITE.name)).specificity(SITE) is Specificity.EXACT
    assert Match(name=("head", "*")).specificity(SITE) is Specificity.GLOB


@quick
@given(st.lists(ranked_rules(), max_size=8))
def test_each_key_comes_from_the_most_specific_rule_and_among_equals_the_last(
    ranked: list[tuple[Specificity, Rule]],
) -> None:
    decision = decide(RuleSet("r", rules=tuple(rule for _, rule in ranked)), SITE, CALLER)
    fallback = {"keep": False, "scheme": "v2", "ch": 8, "second_layer": True, "placement": "absorbed"} | {
        "kind": "grouped",
        "sum": True,
    }
    for key in VALUES:
        best = max(
            ((rank, index) for index, (rank, rule) in enumerate(ranked) if key in rule.settings.stated), default=None
        )
        expected = fallback.get(key) if best is None else getattr(ranked[best[1]][1].settings, key)
        assert decided(decision, key) == expected, key
    assert decision.matched == tuple(range(len(ranked)))


@quick
@given(st.lists(ranked_rules(), max_size=8))
def test_order_counts_among_equals_only(ranked: list[tuple[Specificity, Rule]]) -> None:
    by_rank = sorted(ranked, key=lambda pair: -pair[0])  # stable: equals stay in their order
    as_written, reordered = (
        decide(RuleSet("r", rules=tuple(rule for _, rule in pairs)), SITE, CALLER) for pairs in (ranked, by_rank)
    )
    assert {key: decided(as_written, key) for key in VALUES} == {key: decided(reordered, key) for key in VALUES}


@quick
@given(st.lists(ranked_rules(), max_size=6), st.sampled_from(["v1", "v2"]), st.integers(1, 64))
def test_head_of_the_file_stands_between_rules_and_caller(
    ranked: list[tuple[Specificity, Rule]], scheme: str, ch: int
) -> None:
    rules = tuple(rule for _, rule in ranked)
    head = SiteSettings(scheme="v1", ch=77, second_layer=False, activation="gelu")
    without = decide(RuleSet("r", rules=rules), SITE, BlockSettings(ch=77, scheme="v1"))
    decision = decide(RuleSet("r", defaults=head, rules=rules), SITE, BlockSettings(ch=ch, scheme=scheme))
    stated = {key for rule in rules for key in rule.settings.stated}
    assert (decision.block.scheme, decision.block.ch) == (without.block.scheme, without.block.ch)
    assert decision.block.second_layer is (without.block.second_layer if "second_layer" in stated else False)
    assert decision.activation == (without.activation if "activation" in stated else "gelu")


def test_two_rules_can_set_different_keys_of_one_site() -> None:
    rules = load_rules(
        {
            "rule": [
                {"match": {"name": SITE.name}, "ch": 32, "why": "late"},
                {"match": {"role": "projection"}, "ch": 4, "placement": "linear", "why": "thin"},
                {"match": {"name": "nothing"}, "scheme": "v1"},
            ]
        }
    )
    decision = decide(rules, SITE, CALLER)
    assert (decision.block.ch, decision.placement, decision.block.scheme) == (32, "linear", "v2")
    assert decision.why == "late; thin"
    assert decision.matched == (0, 1)


def test_a_rule_that_lost_all_its_keys_gives_no_reason() -> None:
    rules = load_rules(
        {
            "rule": [
                {"match": {"name": SITE.name}, "ch": 32},
                {"match": {"role": "projection"}, "ch": 4, "why": "lost"},
            ]
        }
    )
    assert decide(rules, SITE, CALLER).why is None


def test_keep_with_and_without_a_reason() -> None:
    decision = decide(one_rule({"name": SITE.name}, keep=True, why="too thin"), SITE, CALLER)
    assert (decision.keep, decision.why) == (True, "too thin")
    assert decide(one_rule({"name": SITE.name}, keep=True), SITE, CALLER).why == "kept by rule 1 of rules"


def test_a_more_specific_rule_takes_a_keep_back_and_a_less_specific_one_does_not() -> None:
    keep = {"match": {"name": "blocks.*"}, "keep": True}
    for name, kept in ((SITE.name, False), (r"re:.+", False), ("*", False), (None, True)):
        match = {"name": name} if name else {"role": "projection"}
        assert decide(load_rules({"rule": [keep, {"match": match, "keep": False}]}), SITE, CALLER).keep is kept


def test_what_the_structure_keeps_no_rule_releases() -> None:
    site = replace(SITE, keep_reason="the classifier is never replaced")
    decision = decide(one_rule({"name": SITE.name}, keep=False, why="please"), site, CALLER)
    assert (decision.keep, decision.why) == (True, "the classifier is never replaced")


# What matched nothing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "sentence"),
    [
        ({"name": "blocks.9.*"}, "rule 1 (name = 'blocks.9.*') matched nothing; nearest: blocks.6.0.conv_pwl"),
        ({"name": "conv_haed"}, "rule 1 (name = 'conv_haed') matched nothing; nearest: conv_head"),
        ({"name": "re:conv_heat"}, "rule 1 (name = 're:conv_heat') matched nothing; nearest: conv_head"),
        (
            {"name": ["conv_haed", "blocks.6.0.conv"]},
            "rule 1 (name = ['conv_haed', 'blocks.6.0.conv']) matched nothing; nearest: conv_head, blocks.6.0.conv_pwl",
        ),
        (
            {"role": "squeeze-excite"},
            "rule 1 (role = 'squeeze-excite') matched nothing; the sites have role expansion, projection",
        ),
        ({"type": "Linear"}, "rule 1 (type = 'Linear') matched nothing; the sites have type Conv2d"),
        (
            {"name": "blocks.*", "in_channels": {"max": 64}},
            "rule 1 (name = 'blocks.*', in_channels = {max = 64}) matched nothing; "
            "the sites have in_channels from 320 to 1152",
        ),
        (
            {"name": "conv_head", "role": "projection"},
            "rule 1 (name = 'conv_head', role = 'projection') matched nothing; "
            "no site meets all of its conditions at once",
        ),
    ],
)
def test_a_rule_that_matched_nothing_is_reported(match: dict, sentence: str) -> None:
    sites = [SITE, Site("conv_head", 320, 1280, role="expansion")]
    assert unused(one_rule(match), sites) == (sentence,)
    assert unused(one_rule(match), []) == (sentence.split(";")[0] + "; the model has no sites",)


def test_a_misspelt_name_in_a_list_is_reported_though_the_rule_matched() -> None:
    rules = one_rule({"name": ["blocks.*", "conv_haed"]})
    sites = [SITE, Site("conv_head", 320, 1280)]
    assert unused(rules, sites) == ("rule 1: name = 'conv_haed' matched nothing; nearest: conv_head",)


def test_rules_that_matched_are_not_reported_and_the_others_keep_their_number() -> None:
    rules = load_rules({"rule": [{"match": {"name": "*"}, "ch": 4}, {"match": {"name": "stem"}, "ch": 4}]})
    (sentence,) = unused(rules, [SITE])
    assert sentence.startswith("rule 2 (name = 'stem') matched nothing")


# Presets ----------------------------------------------------------------------------------------------------


def test_presets_have_descriptions_and_the_precedence_in_their_heads() -> None:
    names = [preset.name for preset in presets()]
    assert {"keffnet-v1", "keffnet-v2", "no-second-layer", "example-per-site"} <= set(names)
    assert all(preset.description for preset in presets())
    for name in names:
        text = (preset_directory() / f"{name}.toml").read_text(encoding="utf-8")
        assert "Precedence" in text.split("description")[0]


def test_without_rules_the_scheme_of_the_caller_counts() -> None:
    assert load_rules() == load_rules("keffnet-v2")
    for scheme in SCHEMES:
        rules = load_rules(None, scheme=scheme)
        assert rules.name == SCHEMES[scheme].preset
        assert decide(rules, SITE, BlockSettings(ch=8, scheme=scheme)).block.scheme == scheme


def test_a_named_preset_wins_over_the_scheme_of_the_caller() -> None:
    rules = load_rules("keffnet-v1", scheme="v2")
    assert decide(rules, SITE, BlockSettings(ch=8, scheme="v2")).block.scheme == "v1"
    assert decide(rules, SITE, BlockSettings(ch=8, scheme="v2")).block.ch == 8


def test_no_second_layer() -> None:
    decision = decide(load_rules("no-second-layer"), SITE, BlockSettings(ch=8, scheme="v1"))
    assert (decision.block.second_layer, decision.block.scheme, decision.block.ch, decision.keep) == (
        False,
        "v2",
        8,
        False,
    )


def test_every_rule_of_the_example_decides_something_on_efficientnet_b0() -> None:
    rules = load_rules("example-per-site")
    sites = b0_sites()
    assert len(sites) == 64
    assert unused(rules, sites) == ()
    decisions = {site.name: decide(rules, site, BlockSettings(ch=4, scheme="v1")) for site in sites}
    assert decisions["blocks.3.0.se.conv_reduce"].keep
    assert "1x1" in (decisions["blocks.3.0.se.conv_reduce"].why or "")
    assert not decisions["blocks.6.0.se.conv_reduce"].keep
    assert decisions["blocks.6.0.se.conv_reduce"].block.ch == 16
    assert decisions["blocks.5.1.conv_pw"].block.ch == 32
    assert decisions["blocks.6.0.conv_pw"].block.ch == 32
    assert (decisions["blocks.6.0.conv_pwl"].block.ch, decisions["blocks.6.0.conv_pwl"].block.scheme) == (16, "v1")
    assert decisions["blocks.3.1.conv_pwl"].placement == "linear"
    assert decisions["blocks.3.0.conv_pwl"].placement == "absorbed"
    assert not decisions["blocks.1.0.conv_pwl"].block.second_layer
    assert decisions["conv_head"].activation == "hard_swish"
    assert decisions["blocks.3.0.conv_pw"] == decide(
        load_rules("keffnet-v2"), sites[0], BlockSettings(ch=16, scheme="v2")
    )
    assert all(rule.why for rule in rules.rules)


def test_the_example_shows_every_key() -> None:
    rules = load_rules("example-per-site")
    shown = {key for rule in rules.rules for key in (*rule.match.stated, *rule.settings.stated)}
    assert shown == {f.name for f in (*fields(Match), *fields(SiteSettings))}
    assert set(rules.defaults.stated) == {"kind", "scheme", "ch", "second_layer", "sum", "placement"}
    text = (preset_directory() / "example-per-site.toml").read_text(encoding="utf-8")
    assert all(activation in text for activation in ACTIVATIONS)
    assert all(role in text for role in ROLES)
    named = {name for rule in rules.rules for name in rule.match.name}
    assert {name.startswith("re:") for name in named} == {True, False}


@pytest.mark.parametrize("shipped", [True, False])
def test_presets_are_found_inside_an_installed_package_too(tmp_path: Path, shipped: bool) -> None:
    package = Path(kswap.rules.__file__).parents[1]
    shutil.copytree(package, tmp_path / "site" / "kswap", ignore=shutil.ignore_patterns("__pycache__", "presets"))
    if shipped:
        shutil.copytree(preset_directory(), tmp_path / "site" / "kswap" / "presets")
        (tmp_path / "site" / "rules").mkdir()
        (tmp_path / "site" / "rules" / "of-another-package.toml").touch()
    code = "import kswap.rules as r, sys; print(r.preset_directory(), len(r.presets()), 'torch' in sys.modules)"
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if shipped:
        assert done.stdout.split() == [str(tmp_path / "site" / "kswap" / "presets"), str(len(presets())), "False"]
    else:
        assert "RuleError: the presets that come with kswap are missing" in done.stderr


# Sources of rules -------------------------------------------------------------------------------------------


def test_a_file_by_path_by_text_and_as_a_table_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('description = "d"\nch = 4\n[[rule]]\nmatch = { name = "a" }\nkeep = true\n', encoding="utf-8")
    table = {"name": "mine.toml", "description": "d", "ch": 4, "rule": [{"match": {"name": "a"}, "keep": True}]}
    expected = RuleSet("mine.toml", "d", SiteSettings(ch=4), (Rule(Match(name=("a",)), SiteSettings(keep=True)),))
    monkeypatch.chdir(tmp_path)
    for spec in (file, str(file), "mine.toml", "./mine.toml", table, expected):
        assert load_rules(spec) == expected


def test_windows_line_ends_and_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(b'\xef\xbb\xbfch = 4\r\n[[rule]]\r\nmatch = { name = "a" }\r\nkeep = true\r\n')
    assert load_rules(file).rules[0].settings.keep is True


@quick
@given(st.lists(ranked_rules(), max_size=4), st.sampled_from(["", "für alle"]), st.none() | st.integers(1, 9))
def test_rules_survive_json(ranked: list[tuple[Specificity, Rule]], description: str, ch: int | None) -> None:
    rules = RuleSet("r", description, SiteSettings(ch=ch), tuple(rule for _, rule in ranked))
    assert RuleSet.from_json(json.loads(json.dumps(rules.to_json()))) == rules
    assert load_rules(rules.to_json()) == rules


def test_matches_survive_json() -> None:
    for preset in presets():
        assert RuleSet.from_json(json.loads(json.dumps(preset.to_json()))) == preset
    match = Match(("a", "b"), ("expansion",), ("Conv2d",), Range(3, 3), Range(min=4))
    assert Match.from_json(match.to_json()) == match


# Errors -----------------------------------------------------------------------------------------------------


def named_rule(body: str) -> str:
    return f'[[rule]]\nmatch = {{ name = "a" }}\n{body}\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sceme = 'v1'", "unknown key 'sceme' in the head of the file: known are .*; did you mean scheme"),
        ("name = 'x'", "unknown key 'name' in the head of the file"),
        ("[[rules]]\nkeep = true", "unknown key 'rules' in the head .*did you mean rule"),
        ("description = 3", "description must be text, not 3"),
        ("keep = true", "unknown key 'keep' in the head of the file"),
        ("ch = 0", "whole number of at least 1, not 0"),
        ("ch = -4", "whole number of at least 1, not -4"),
        ("ch = '16'", "whole number of at least 1, not '16'"),
        ("ch = 16.0", "whole number of at least 1, not 16.0"),
        ("ch = true", "whole number of at least 1, not True"),
        ("scheme = 'v3'", "scheme must be one of v1, v2, shuffle, not 'v3'"),
        ("scheme = ['v1']", r"scheme must be one of v1, v2, shuffle, not \['v1'\]"),
        ("second_layer = 'no'", "second_layer must be true or false, not 'no'"),
        ("placement = 'linaer'", "placement must be one of absorbed, linear, not 'linaer'; did you mean linear"),
        ("activation = 'swish'", "activation must be one of .*not 'swish'; did you mean hard_swish"),
        ("activation = 'relu'\nplacement = 'linear'", "an activation has no place in a linear block"),
        ("rule = 3", r"rule must be a list of tables; write \[\[rule\]\]"),
        ("[rule]\nkeep = true", r"rule must be a list of tables; write \[\[rule\]\]"),
        ("rule = [3]", "rule 1: a rule must be a table, not 3"),
        ("[[rule]]\nkeep = true", "rule 1: it has no match"),
        ("[[rule]]\nkeep = true\nmatch = {}", "rule 1: its match is empty"),
        ("[[rule]]\nkeep = true\nmatch = 'a'", "rule 1: match must be a table, not 'a'"),
        ("[[rule]]\nkeep = true\nmatch = { nmae = 'a' }", r"rule 1 \(nmae = 'a'\): unknown key 'nmae' in match.*name"),
        ("[[rule]]\nkeep = true\nmatch = { name = 3 }", "name in match must be text, not 3"),
        ("[[rule]]\nkeep = true\nmatch = { name = '' }", "name in match must not be empty"),
        ("[[rule]]\nkeep = true\nmatch = { name = [] }", "name in match is an empty list"),
        ("[[rule]]\nkeep = true\nmatch = { name = ['a', 3] }", "name in match must be text, not 3"),
        ("[[rule]]\nkeep = true\nmatch = { name = 're:a(' }", r"'re:a\(' is not a valid regular expression: "),
        ("[[rule]]\nkeep = true\nmatch = { type = 3 }", "type in match must be text, not 3"),
        ("[[rule]]\nkeep = true\nmatch = { role = 'projecton' }", "role in match must be .*; did you mean projection"),
        ("[[rule]]\nkeep = true\nmatch = { role = ['stem'] }", "role in match must be one of"),
        ("[[rule]]\nkeep = true\nmatch = { in_channels = 0 }", "a number of channels .* at least 1, not 0"),
        ("[[rule]]\nkeep = true\nmatch = { in_channels = '64' }", "a number of channels .*, not '64'"),
        ("[[rule]]\nkeep = true\nmatch = { in_channels = true }", "a number of channels .*, not True"),
        ("[[rule]]\nkeep = true\nmatch = { out_channels = [64] }", r"a number of channels .*, not \[64\]"),
        ("[[rule]]\nkeep = true\nmatch = { out_channels = {} }", "a range of channels needs min, max or both"),
        ("[[rule]]\nkeep = true\nmatch = { out_channels = { mni = 3 } }", "unknown key 'mni' in out_channels in match"),
        ("[[rule]]\nkeep = true\nmatch = { out_channels = { min = 9, max = 3 } }", "from 9 to 3 holds nothing"),
        (named_rule(""), r"rule 1 \(name = 'a'\): it sets nothing; add one of keep, "),
        (named_rule("why = 'so'"), r"rule 1 \(name = 'a'\): it sets nothing"),
        (named_rule("kep = true"), r"rule 1 \(name = 'a'\): unknown key 'kep' in a rule: .*; did you mean keep"),
        (named_rule("keep = 1"), r"rule 1 \(name = 'a'\): keep must be true or false, not 1"),
        (named_rule("keep = true\nwhy = 3"), "why must be text, not 3"),
        (named_rule("ch = 0"), r"rule 1 \(name = 'a'\): ch \(channels per group\) must be .* not 0"),
        (named_rule("placement = 'linear'\nactivation = 'relu'"), "an activation has no place in a linear block"),
        (named_rule("ch = 4") + named_rule("scheme = 'v9'"), r"rule 2 \(name = 'a'\): scheme must be one of"),
    ],
)
def test_a_mistake_in_a_file_is_one_sentence_with_file_and_rule(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(RuleError) as caught:
        load_rules(file)
    told = str(caught.value)
    assert told.startswith(f"{file}: ")
    assert re.search(message, told), told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"ch = ", r"is not valid TOML: .*\(at line 1, column 6\)|is not valid TOML: .*\(at end of document\)"),
        (b"ch = 16\nscheme = v1\n", r"is not valid TOML: .*at line 2"),
        (b"ch = 16\nch = 32\n", r"is not valid TOML: .*at line 2"),
        (b"ch = " + b"9" * 5000, "is not valid TOML: "),
        (b"x = " + b"[" * 5000, "is not valid TOML: "),
        (b"description = '\xff'", r"is not UTF-8 text \(byte 15\); save it as UTF-8"),
    ],
)
def test_a_file_that_is_not_toml(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_bytes(content)
    with pytest.raises(RuleError, match=message) as caught:
        load_rules(file)
    assert str(file) in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match=r"none\.toml cannot be read: No such file"):
        load_rules(tmp_path / "none.toml")
    with pytest.raises(RuleError, match="cannot be read: Is a directory"):
        load_rules(tmp_path)
    with pytest.raises(RuleError, match="cannot be read: its name holds a NUL"):
        load_rules("a\0.toml")


@pytest.mark.parametrize(
    "key", ["a." * 100_000 + "a = 1", "[" + "a . " * 300 + "a]", "x = {" + '"a b".' * 300 + "a = 1}"]
)
def test_keys_of_very_many_parts_are_refused_before_parsing(tmp_path: Path, key: str) -> None:
    (tmp_path / "deep.toml").write_text(key)
    with pytest.raises(RuleError, match="more than 100 parts"):
        load_rules(tmp_path / "deep.toml")


def test_what_is_no_file_of_a_sensible_size(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(RuleError, match="not a plain file"):
        load_rules(tmp_path / "pipe.toml")
    with pytest.raises(RuleError, match="not a plain file"):
        load_rules(Path("/dev/zero"))
    (tmp_path / "large.toml").write_text("#" * 10**6)
    with pytest.raises(RuleError, match="too large: 1,000,000 bytes"):
        load_rules(tmp_path / "large.toml")


def test_an_unknown_preset_has_near_names_and_the_way_to_a_file() -> None:
    with pytest.raises(RuleError) as caught:
        load_rules("kefnet-v2")
    told = str(caught.value)
    assert "did you mean keffnet-v2" in told
    assert "./kefnet-v2.toml" in told
    with pytest.raises(RuleError, match="unknown preset ''"):
        load_rules("")


@pytest.mark.parametrize("spec", [3, ["keffnet-v2"], True])
def test_what_cannot_be_rules(spec: object) -> None:
    with pytest.raises(RuleError, match="rules must be a preset, a path to a TOML file or a table"):
        load_rules(spec)  # type: ignore[arg-type]


def test_an_unknown_scheme_of_the_caller() -> None:
    with pytest.raises(RuleError, match="scheme must be one of v1, v2, shuffle, not 'v3'"):
        load_rules(None, scheme="v3")


def test_mistakes_in_a_table_of_the_caller() -> None:
    with pytest.raises(RuleError, match=r"unknown key 'rulez' in the rules: .*did you mean rule"):
        load_rules({"rulez": []})
    with pytest.raises(RuleError, match="name must be text, not 3"):
        load_rules({"name": 3})
    with pytest.raises(RuleError, match="keep belongs into a rule"):
        RuleSet("r", defaults=SiteSettings(keep=True))
