"""``kswap rules``: the presets, and what each does."""

from __future__ import annotations

import click

from kswap.cli.formats import format_option, show


@click.command()
@click.argument("preset", required=False)
@format_option("listing")
def rules(preset: str | None, format_: str) -> None:
    """List the rule presets, or show one.

    With PRESET, its file is shown, to copy and change.

    Give a preset or a file of your own to `kswap convert MODEL --rules PRESET|FILE`.
    """
    from kswap.report.listing import Listing
    from kswap.rules import load_rules, preset_directory, presets

    if preset is not None:
        name = load_rules(preset).name
        click.echo((preset_directory() / f"{name}.toml").read_text(encoding="utf-8"), nl=False)
        return
    rows = tuple((rule_set.name, rule_set.description) for rule_set in presets())
    closing = "`kswap rules PRESET` shows a preset's file; --rules takes your own file as well"
    show(Listing(("preset", "what it does"), rows, closing), format_)
