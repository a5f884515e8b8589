"""``kswap rules``: the presets, and what each does."""

from __future__ import annotations

import click

from kswap.cli.options import console


@click.command()
@click.argument("preset", required=False)
def rules(preset: str | None) -> None:
    """List the rule presets, or show one.

    With PRESET, its file is shown, to copy and change.

    Give a preset or a file of your own to `kswap convert MODEL --rules PRESET|FILE`.
    """
    from rich.table import Table

    from kswap.rules import load_rules, preset_directory, presets

    if preset is not None:
        name = load_rules(preset).name
        click.echo((preset_directory() / f"{name}.toml").read_text(encoding="utf-8"), nl=False)
        return
    table = Table("preset", "what it does", box=None, pad_edge=False)
    for rule_set in presets():
        table.add_row(rule_set.name, rule_set.description)
    out = console()
    out.print(table)
    out.print("\n`kswap rules PRESET` shows a preset's file; --rules takes your own file as well", markup=False)
