"""``--align`` on the command line."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from kswap.cli.main import main


def test_a_plan_has_groups_of_multiples_and_says_where_it_has_not() -> None:
    result = CliRunner().invoke(main, ["plan", "efficientnet_b0", "--align", "16", "--format", "json"])
    assert result.exit_code == 0, result.output
    sites = {site["name"]: site for site in json.loads(result.stdout)["sites"]}
    k = sites["blocks.5.1.conv_pwl"]["k"]  # 1152 -> 192
    assert (k["group_width"], k["filters_per_group"], k["groups"]) == (96, 16, 12)
    assert "24 filters are no multiple" in sites["blocks.1.0.conv_pwl"]["reason"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--align", "1"], "1 is not in the range 2<=x<=1024"),
        (["--align", "16", "--kind", "low-rank"], "a low-rank block has none: leave align or the kind out"),
    ],
)
def test_mistakes_are_one_sentence(options: list[str], sentence: str) -> None:
    result = CliRunner().invoke(main, ["plan", "test_efficientnet", *options])
    assert result.exit_code == 2
    assert sentence in result.stderr
