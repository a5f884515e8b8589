"""Text files, read within limits and written whole or not at all.

Files may come from a stranger: what is no plain file (a pipe, a device) is refused before it is opened, and so is
what is larger than any file of kswap.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import stat
from pathlib import Path
from typing import Any

from kswap.errors import KswapError, excerpt

# The largest plan of a timm model has about 1 MB.
MOST_BYTES = 64 * 2**20
# How the hidden file ends that a text is written to before it has its name.
PARTIAL = ".part"
# The parser takes memory by the square of the parts of a key: 13 GB for ``a.a.a...`` of 100,000 parts, nothing to
# speak of for 100. Parts longer than 200 characters need no limit: the file is too small for many of them.
_MANY_PARTS = re.compile(
    r"""(?<![\w-])(?:(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.){0,200}+"|'[^'\n]{0,200}+')[ \t]*+\.[ \t]*+){100}"""
)


def read_text(path: str | Path, most_bytes: int, error: type[KswapError], what: str = "file") -> str:
    """The text of a file in UTF-8, with or without a byte order mark; newlines unchanged.

    Args:
        path: the file, or a link to it.
        most_bytes: the largest size.
        error: the class of the exception for what cannot be read.
        what: what the file is, for messages: "plan".
    """
    shown = excerpt(path, 200)
    try:
        # Opened first and asked then, so that nothing can be put in its place in between; a pipe without a writer
        # must not block the opening.
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(number, "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise error(f"the {what} {shown} is not a plain file")
            data = file.read(most_bytes + 1)
        if len(data) > most_bytes:
            raise error(f"the {what} {shown} is too large: {found.st_size:,} bytes, at most {most_bytes:,} are read")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as wrong:
        raise error(f"the {what} {shown} is not UTF-8 text (byte {wrong.start}); save it as UTF-8") from wrong
    except (OSError, ValueError) as wrong:  # ValueError: a path with NUL
        raise error(f"the {what} {shown} cannot be read: {_reason(wrong)}") from wrong


def read_json(path: str | Path, error: type[KswapError], what: str = "file", most_bytes: int = MOST_BYTES) -> Any:
    """What a JSON file holds; arguments as for :func:`read_text`."""
    text = read_text(path, most_bytes, error, what)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as wrong:  # RecursionError: very deep nesting
        place = f" (line {wrong.lineno})" if isinstance(wrong, json.JSONDecodeError) else ""
        raise error(f"the {what} {excerpt(path, 200)} holds no valid JSON{place}: mend it, or make it again") from wrong


def toml_table(text: str, path: str | Path, error: type[KswapError], what: str = "file") -> dict[str, Any]:
    """What the text of a TOML file holds; ``path``, ``error`` and ``what`` as for :func:`read_text`."""
    import tomllib

    if _MANY_PARTS.search(text):
        raise error(f"the {what} {excerpt(path, 200)} has a key of more than 100 parts (a.b.c...)")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as wrong:
        raise error(f"the {what} {excerpt(path, 200)} is not valid TOML: {wrong}") from wrong


def write_text(path: str | Path, text: str, error: type[KswapError], what: str = "file") -> None:
    """Write a text file that ends in a newline, whole or not at all.

    The text goes to a hidden file beside ``path``, which takes its place at the end; an existing file, a link's
    target too, is replaced. What is no plain file (``/dev/stdout``, a pipe) is written to directly.
    """
    whole = text if text.endswith("\n") else text + "\n"
    try:
        target = Path(path).resolve()
        if target.exists() and not target.is_file() and not target.is_dir():
            with target.open("w", encoding="utf-8") as file:
                file.write(whole)
            return
        replace_file(target, whole.encode())
    except (OSError, ValueError) as wrong:
        shown = excerpt(path, 200)
        raise error(f"the {what} {shown} cannot be written: {_reason(wrong)}; choose another place") from wrong


def write_file(path: Path, data: bytes, error: type[KswapError]) -> None:
    """Put a file with these bytes in the place of ``path``, or of what it links to, whole or not at all."""
    try:
        replace_file(path.resolve(), data)
    except (OSError, ValueError) as wrong:
        raise error(f"{excerpt(path, 200)} cannot be written: {_reason(wrong)}; choose another place") from wrong


def replace_file(target: Path, data: bytes) -> None:
    """Put a file with these bytes in the place of ``target``, on the disk before it has its name.

    Raises :class:`OSError`; then ``target`` is what it was.
    """
    if target.is_dir():
        raise IsADirectoryError(21, "it is a directory")
    fresh = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}{PARTIAL}")
    number = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            fresh.chmod(stat.S_IMODE(target.stat().st_mode))
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)
    sync_directory(target.parent)


def link_or_copy(path: Path, target: Path) -> None:
    """The file ``path`` at ``target`` too, to be read: a second name for it, or a copy on another file system."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


def sync_directory(directory: Path) -> None:
    """Bring the names in a directory to the disk, where the system can."""
    with contextlib.suppress(OSError):
        number = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "its name holds a NUL" if "null" in str(error) else str(error)
