"""``kswap study``: experiments that say what the method is worth, one command each."""

from __future__ import annotations

import click

from kswap.cli.lazy_group import LazyGroup

# Each study with the command that runs it, imported when it is asked for.
_STUDIES = {
    "cifar10": ("kswap.cli.studies.cifar10", "cifar10"),
    "families": ("kswap.cli.studies.families", "families"),
    "transfer": ("kswap.cli.studies.transfer", "transfer"),
}


class Studies(LazyGroup):
    """A command a study."""

    places = _STUDIES
    what = "study"


@click.group(cls=Studies)
def study() -> None:
    """Measure what the method is worth: long runs that continue where they were stopped.

    \b
    Examples:
      kswap study cifar10 --data cifar10 --out study
      kswap study families --out study
      kswap study transfer resnet50 --weights trained.pth --num-classes 10 --data photos --out study
    """
