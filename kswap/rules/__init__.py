"""Which pointwise layers are replaced, with which Ch and scheme, and why: rule files, read and applied.

A rule file is TOML. Its head may hold ``description`` (text) and the defaults ``kind``, ``scheme``, ``ch``,
``second_layer``, ``sum``, ``align``, ``rank``, ``placement`` and ``activation``; then come ``[[rule]]`` tables::

    description = "EfficientNet with wider groups at the end"

    [[rule]]
    match = { name = "blocks.6.*", role = ["expansion", "projection"], in_channels = { min = 64 } }
    ch = 32
    why = "the last stage has many channels and few positions"

``match`` in the head names the kinds of layers that are sites at all, by default
``match = ["conv", "conv1d", "conv3d"]``: a 1x1 Conv2d, and Conv1d and Conv3d with kernel 1. A
:class:`torch.nn.Linear` (``"linear"``, and ``--linear`` on the command line) computes the same map, and gets the same
plan. Among Linear layers the
MLPs are replaced; some stay:

* in any case the classifier, layers with tied weights, and layers whose weight the model reads by itself
  (torch's MultiheadAttention, for one);
* unless a rule asks for them the layers of an attention, which are found by what flows where and not by name:
  those that make queries, keys and values (role ``fused-qkv`` when one layer makes several of them), the one
  that reads the result (role ``attention``), and a layer that embeds the model's input. To ask for them is to
  set ``keep = false`` in a rule that matches by ``name`` or by ``role``.

The head may also exchange activations over the whole network, by class: ``swap_activations = { SiLU = "relu" }``
(the ReLU rows of Table 5 of the 2022 paper).

``match`` holds one or more of these; a site has to meet all that are stated, and any one of a list:

* ``name``: the exact qualified name; a glob if it holds ``*``, ``?`` or ``[`` (``*`` runs over dots as well);
  a regular expression that fits the whole name if it starts with ``re:``.
* ``role``: one of :data:`kswap.planner.sites.ROLES`; ``type``: the class name of the layer, ``Conv2d`` or ``Linear``.
* ``in_channels``, ``out_channels``: a number, or ``{ min = 64, max = 512 }``, both ends included.

A rule sets one or more of ``keep`` (``true`` keeps the layer; ``false`` takes back what a less specific rule
kept), ``kind`` (one of :data:`kswap.planner.kinds.BLOCK_KINDS`), ``ch``, ``scheme``, ``second_layer`` (``false``: K
alone), ``sum`` (``false``: L alone instead of K + L), ``align`` (inputs and filters of each group in multiples of this
number where channel numbers allow it, such as 16 for ONNX Runtime with AVX-512), ``rank`` (of a low-rank block; without
it the rank whose weights come nearest to those of the grouped block), ``placement`` (``"absorbed"`` or ``"linear"``)
and ``activation`` (one of :data:`kswap.planner.activations.ACTIVATIONS`; a linear block has none); ``why`` is the
reason that readers are shown.

**Precedence.** Decided for each key by itself, so that two rules can each set a different key of one site:

1. a rule with the exact name, then one with ``re:``, then one with a glob, then one without a name;
2. among equals the later rule in the file;
3. what no rule sets comes from the head of the file, and then from the caller (``--ch``, ``--scheme``).

What the structure of the model keeps (the classifier, for instance) no rule can release. A rule that matched
nothing is reported by :func:`unused`; an unknown key is a :class:`kswap.errors.RuleError`.

>>> from kswap.planner import BlockSettings
>>> from kswap.planner.sites import Site
>>> rules = load_rules({"rule": [{"match": {"name": "blocks.*"}, "ch": 32}]})
>>> decide(rules, Site("blocks.0.conv", 64, 64), BlockSettings(ch=16)).block.ch
32
>>> decide(rules, Site("head", 64, 64), BlockSettings(ch=16)).block.ch
16
"""

from kswap.rules.deciding import Decision, decide, unused
from kswap.rules.matching import Match, Range, Specificity
from kswap.rules.reading import load_rules, preset_directory, presets
from kswap.rules.ruleset import Rule, RuleSet, SiteSettings

__all__ = [
    "Decision",
    "Match",
    "Range",
    "Rule",
    "RuleSet",
    "SiteSettings",
    "Specificity",
    "decide",
    "load_rules",
    "preset_directory",
    "presets",
    "unused",
]
