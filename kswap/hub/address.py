"""The address of a model on the Hub: ``hf-hub:owner/name``, or ``hf-hub:owner/name@revision``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kswap.errors import HubError, excerpt

PREFIX = "hf-hub:"
_PART = r"[A-Za-z0-9][\w.-]{0,95}"
_REPO = re.compile(rf"(?:{_PART}/)?{_PART}", re.ASCII)
# A branch, a tag, or a commit's hash.
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,199}", re.ASCII)


def is_address(text: object) -> bool:
    """Whether a name of a directory is an address of the Hub instead.

    >>> is_address("hf-hub:ann/small-b0"), is_address("small-b0")
    (True, False)
    """
    return isinstance(text, str) and text.startswith(PREFIX)


def is_repo(name: str) -> bool:
    """Whether a repository may have this name.

    >>> is_repo("ann/small-b0"), is_repo("../b0")
    (True, False)
    """
    return _REPO.fullmatch(name) is not None and ".." not in name


@dataclass(frozen=True)
class HubAddress:
    """A repository of the Hub, and the revision of it that is meant, ``None`` for the newest.

    Raises :class:`HubError` for what is no name of either.
    """

    repo: str
    revision: str | None = None

    def __post_init__(self) -> None:
        if not is_repo(self.repo):
            raise HubError(f"'{excerpt(self.repo)}' is no name of a repository: write owner/name")
        if self.revision is not None and (not _REVISION.fullmatch(self.revision) or ".." in self.revision):
            raise HubError(f"'{excerpt(self.revision)}' is no revision: write a branch, a tag, or a commit's hash")

    def __str__(self) -> str:
        return PREFIX + self.repo + (f"@{self.revision}" if self.revision else "")

    @classmethod
    def parse(cls, text: str, revision: str | None = None) -> HubAddress:
        """The address that ``text`` names, with or without the prefix.

        >>> HubAddress.parse("hf-hub:ann/small-b0@v1")
        HubAddress(repo='ann/small-b0', revision='v1')
        """
        repo, at, named = text.removeprefix(PREFIX).partition("@")
        if at and revision is not None and named != revision:
            raise HubError(f"{excerpt(text)} and the revision {excerpt(revision)} contradict each other: leave one out")
        return cls(repo, named if at else revision)
