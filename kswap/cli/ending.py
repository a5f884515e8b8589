"""How a run of the command line ends: its exit status, and what is said where it was stopped."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

import click

# As a shell reports a process that a signal ended: 128 + SIGINT, SIGPIPE, SIGTERM.
INTERRUPTED, PIPE_CLOSED, TERMINATED = 130, 141, 143

# What standard output, or a file that no command names in its message, can run into.
_OUTPUT_ERRORS = {errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)}


def status_of(run: Callable[[], object]) -> int:
    """Run the command line and return its exit status; what went wrong is said in one line on standard error."""
    try:
        result = run()
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        with contextlib.suppress(OSError):
            click.echo("stopped", err=True)
        return INTERRUPTED
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # so rich ends the process
            _drop_output()
            return PIPE_CLOSED
        return error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            _drop_output()
            return PIPE_CLOSED
        if error.errno not in _OUTPUT_ERRORS:
            raise
        _drop_output()
        click.echo(f"Error: {error.filename or 'the output'} cannot be written: {error.strerror}", err=True)
        return 2
    if result == PIPE_CLOSED:
        _drop_output()
    return result if type(result) is int else 0


def end_tidily_on_termination() -> None:
    """Let a SIGTERM end the process as an exception does, so that unfinished files are removed."""

    def end(_number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(TERMINATED)

    signal.signal(signal.SIGTERM, end)


def _drop_output() -> None:
    """Send what is still buffered for standard output nowhere: the interpreter would fail on it at its end."""
    with contextlib.suppress(OSError, ValueError):
        number = os.open(os.devnull, os.O_WRONLY)
        os.dup2(number, sys.stdout.fileno())
        os.close(number)
