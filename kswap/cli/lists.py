"""Options that take every value that follows: ``--ch 4 8 16``, ``--ch 4,8,16`` and ``--ch 4 --ch 8 --ch 16``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import click

from kswap.errors import nearest

# Whether a word goes on with the list of an option, instead of being an argument of the command.
Belongs = Callable[[str], bool]

_TYPED = "kswap.typed"


def is_number(word: str) -> bool:
    """Whether a word goes on with a list of numbers: ``8``, ``8,16`` or ``0.5``."""
    return re.fullmatch(r"[\d.,]+", word) is not None


def is_one_of(known: Sequence[str]) -> Belongs:
    """Whether a word goes on with a list of names: a known one, or a misspelt one, which is not the name of a model.

    >>> belongs = is_one_of(["eager", "cuda"])
    >>> belongs("eager,cuda"), belongs("eagre"), belongs("resnet50"), belongs("./eager")
    (True, True, False, False)
    """

    def belongs(word: str) -> bool:
        if all(part in known for part in word.split(",") if part):
            return True
        return bool(nearest(word, known, 1)) and not re.search(r"[/._]", word)

    return belongs


def spread_lists(arguments: Iterable[str], lists: Mapping[str, Belongs]) -> list[str]:
    """``--batch 1 16`` and ``--batch 1,16`` as ``--batch 1 --batch 16``, for the options of ``lists``.

    >>> spread_lists(["--batch", "1", "16", "resnet50"], {"--batch": is_number})
    ['--batch', '1', '--batch', '16', 'resnet50']
    """
    words = list(arguments)
    made: list[str] = []
    while words:
        word = words.pop(0)
        option, equals, value = word.partition("=")
        if word == "--":
            return [*made, word, *words]
        if option not in lists:
            made.append(word)
            continue
        values = [value] if equals else [words.pop(0)] if words else []
        if not values:
            made.append(option)  # click says what is missing
        while words and not words[0].startswith("-") and lists[option](words[0]):
            values.append(words.pop(0))
        parts = [part for text in values for part in text.split(",")]
        for part in [part for part in parts if part] or parts[:1]:
            made += [option, part]
    return made


class ListCommand(click.Command):
    """A command some of whose options take lists; :func:`typed` tells what was typed."""

    lists: ClassVar[Mapping[str, Belongs]] = {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_TYPED] = shlex.join(["kswap", str(self.name), *args])
        return super().parse_args(ctx, spread_lists(args, self.lists))


def typed(ctx: click.Context) -> str:
    """The command as it was typed."""
    found: Any = ctx.meta[_TYPED]
    return str(found)
