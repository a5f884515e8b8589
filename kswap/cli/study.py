"""``kswap study``: experiments that say what the method is worth, one command each."""

from __future__ import annotations

import importlib

import click

# Each study with the command that runs it, imported when it is asked for.
_STUDIES = {"transfer": ("kswap.cli.studies.transfer", "transfer")}


class Studies(click.Group):
    """A command a study."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_STUDIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _STUDIES:
            return None
        module, name = _STUDIES[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=Studies)
def study() -> None:
    """Measure what the method is worth: long runs that continue where they were stopped.

    \b
    Examples:
      kswap study transfer --help
      kswap study transfer resnet50 --weights trained.pth --num-classes 10 --data photos --out study
    """
