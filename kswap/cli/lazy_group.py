"""A group of commands that are imported when they are asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import ClassVar

import click

from kswap.errors import excerpt, nearest


class LazyGroup(click.Group):
    """A group that knows its commands by name; a name that is none of them is answered with the nearest ones.

    Attributes:
        places: For each command its module, and its name there.
        what: What messages call one of them.
    """

    places: ClassVar[Mapping[str, tuple[str, str]]] = {}
    what: ClassVar[str] = "command"

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.places:
            return None
        module, name = self.places[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and name not in self.places:
            ctx.fail(f"No such {self.what} '{excerpt(name)}'{nearest(name, self.places)}")
        return super().resolve_command(ctx, args)
