"""The command ``kswap``: parse, call, render. Subcommands import torch only when they run."""

from __future__ import annotations

import functools
import sys
from typing import Any

import click

from kswap.cli.ending import PIPE_CLOSED, end_tidily_on_termination, status_of
from kswap.cli.examples import epilog_of
from kswap.cli.lazy_group import LazyGroup
from kswap.errors import KswapError, called_from_command_line, message_line
from kswap.report.calls import called_as, command_text
from kswap.version import __version__

# Where a context keeps the command line as it was typed.
_TYPED = "kswap.typed"

_COMMANDS = {
    "convert": ("kswap.cli.convert", "convert"),
    "plan": ("kswap.cli.convert", "plan"),
    "layer": ("kswap.cli.layer", "layer"),
    "report": ("kswap.cli.report", "report"),
    "diff": ("kswap.cli.report", "diff"),
    "check": ("kswap.cli.check", "check"),
    "create": ("kswap.cli.create", "create"),
    "papers": ("kswap.cli.papers", "papers"),
    "import-keras": ("kswap.cli.create", "import_keras"),
    "evaluate": ("kswap.cli.evaluate", "evaluate"),
    "compress": ("kswap.cli.compress", "compress"),
    "distill": ("kswap.cli.distill", "distill"),
    "train": ("kswap.cli.train", "train"),
    "frontier": ("kswap.cli.frontier", "frontier"),
    "cam": ("kswap.cli.cam", "cam"),
    "optimize": ("kswap.cli.optimize", "optimize"),
    "scan": ("kswap.cli.scan", "scan"),
    "models": ("kswap.cli.models", "models"),
    "rules": ("kswap.cli.rules", "rules"),
    "export": ("kswap.cli.export", "export"),
    "sweep": ("kswap.cli.sweep", "sweep"),
    "study": ("kswap.cli.study", "study"),
    "push": ("kswap.cli.push", "push"),
    "pull": ("kswap.cli.pull", "pull"),
    "bench": ("kswap.cli.bench", "bench"),
    "profile": ("kswap.cli.profile", "profile"),
}


class BadInput(click.ClickException):
    """Wrong use or bad input: one line, exit status 2."""

    exit_code = 2


def _one_line(error: click.UsageError) -> BadInput:
    path = error.ctx.command_path if error.ctx else "kswap"
    message = message_line(error.format_message()).rstrip(".")
    return BadInput(f"{message}; see `{path} --help`")


class Commands(LazyGroup):
    """Turns every user's mistake into one line."""

    places = _COMMANDS

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            command.epilog = command.epilog or epilog_of(cmd_name)
        return command

    def main(self, *args: Any, standalone_mode: bool = True, **kwargs: Any) -> Any:
        run = functools.partial(super().main, *args, **kwargs, standalone_mode=False)
        if not standalone_mode:
            return run()
        sys.exit(status_of(run))

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **kwargs: Any) -> click.Context:
        typed = tuple(args)  # parsing empties the list
        try:
            made = super().make_context(info_name, args, *more, **kwargs)
        except BrokenPipeError as error:
            raise click.exceptions.Exit(PIPE_CLOSED) from error  # click itself would exit with 1
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            raise _one_line(error) from error
        made.meta[_TYPED] = command_text(typed)
        return made

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with called_from_command_line(), called_as(ctx.meta[_TYPED]):
                return super().invoke(ctx)
        except BrokenPipeError as error:
            raise click.exceptions.Exit(PIPE_CLOSED) from error
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            raise _one_line(error) from error
        except KswapError as error:
            raise BadInput(message_line(error)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="kswap")
def main() -> None:
    """Pointwise convolutions of PyTorch image models with a tenth of the weights.

    \b
    kswap convert efficientnet_b0 --ch 16            convert, check and report
    kswap convert efficientnet_b0 --ch 16 --out DIR  the same, and save it
    kswap layer 1152 320 --ch 16                     one layer, explained

    Exit status: 0 done, 1 a condition that was asked for is not met, 2 wrong use or bad input; 130, 141 and 143
    where it was stopped (Ctrl-C, a closed pipe, SIGTERM).
    """


def run() -> None:
    """The entry point of the command ``kswap``."""
    end_tidily_on_termination()
    main(prog_name="kswap")
