"""Text and JSON as kswap writes them to a console."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.console import Console


class HasJson(Protocol):
    """A value with a JSON form."""

    def to_json(self) -> Any: ...


def json_text(data: Any) -> str:
    """JSON as kswap writes it: indented, ASCII only."""
    return json.dumps(data, indent=2)


def json_of(value: HasJson) -> str:
    """The JSON text of a value."""
    return json_text(value.to_json())


def write_verbatim(text: str, console: Console) -> None:
    """Write ``text`` to the console's file unchanged: rich neither wraps nor colours it.

    A character that the file's encoding lacks is written as an escape, so no locale makes this fail.
    """
    encoding = getattr(console.file, "encoding", None) or "utf-8"
    ending = "" if text.endswith("\n") else "\n"
    console.file.write((text + ending).encode(encoding, "backslashreplace").decode(encoding))
