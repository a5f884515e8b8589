"""Text files from anywhere, read with a limit: a stranger may have made them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from kswap.errors import KswapError


def read_text(path: Path, most_bytes: int, error: type[KswapError]) -> str:
    """The text of a regular file of at most ``most_bytes``, in UTF-8.

    A pipe or a device is refused before anything is read: it may have no end, or nobody may write to it.

    Raises:
        KswapError: As ``error``: the file is missing, no regular file, too large or not text.

    >>> read_text(Path("no/such.csv"), 100, KswapError)
    Traceback (most recent call last):
    kswap.errors.KswapError: there is no file no/such.csv
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits for somebody who writes to it.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise error(f"{path} is not a regular file")
            data = file.read(most_bytes + 1)
    except FileNotFoundError:
        raise error(f"there is no file {path}") from None
    except IsADirectoryError:
        raise error(f"{path} is a directory, not a file") from None
    except OSError as cause:
        raise error(f"{path} cannot be read: {cause.strerror}") from cause
    except ValueError:
        raise error(f"'{path}' is not a path") from None
    if len(data) > most_bytes:
        raise error(f"{path} is too large: at most {most_bytes:,} bytes are read")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise error(f"{path} is not text in UTF-8") from None
