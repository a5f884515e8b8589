"""The hub's client where there is no connection: quick to give up, and its errors recognised."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def quick_when_offline() -> Iterator[None]:
    """Let the hub's client use its cache at once where its host cannot be reached, instead of retrying."""
    import socket
    import urllib.parse
    import urllib.request

    from huggingface_hub import constants

    host = urllib.parse.urlsplit(constants.ENDPOINT)
    reachable = bool(urllib.request.getproxies())
    if not reachable:
        with contextlib.suppress(OSError):
            socket.create_connection((host.hostname or "", host.port or 443), timeout=5).close()
            reachable = True
    was = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = was or not reachable
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = was


def is_offline(error: BaseException) -> bool:
    """Whether an exception, or one behind it, says that the hub cannot be reached."""
    words = (
        "offline",
        "connect",
        "resolve",
        "urlerror",
        "unreachable",
        "localentrynotfound",
        "timeout",
        "timed out",
        "proxy",
    )
    seen: BaseException | None = error
    while seen is not None:
        text = f"{type(seen).__name__} {seen}".lower()
        if any(word in text for word in words):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
