"""A stand-in for the Hub: the operations of its client that kswap uses, over a directory."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock, create_autospec

import pytest
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import ModelInfo, RepoSibling

from kswap.hub import client


def answer(status: int) -> Any:
    """A response as the client's errors hold one, whatever library made it."""
    return Mock(status_code=status, headers={})


@dataclass
class FakeHub:
    """Repositories as directories ``ROOT/OWNER--NAME/COMMIT``, branches by name, a cache, and what was asked for."""

    root: Path
    branches: dict[tuple[str, str], str] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    downloads: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    may_write: bool = True
    online: bool = True
    sizes: dict[str, int | None] = field(default_factory=dict)

    def commit_of(self, repo: str, revision: str | None) -> str:
        if repo not in self.private:
            raise RepositoryNotFoundError("404", response=answer(404))
        commit = self.branches.get((repo, revision or "main"), revision or "")
        if not (self.root / repo.replace("/", "--") / commit).is_dir() or not commit:
            raise RevisionNotFoundError("404", response=answer(404))
        return commit

    def files(self, repo: str, revision: str | None = None) -> Path:
        return self.root / repo.replace("/", "--") / self.commit_of(repo, revision)

    # The client's operations.

    def repo_info(self, repo: str, revision: str | None = None, **_: Any) -> ModelInfo:
        if not self.online:
            raise OfflineModeIsEnabled("offline")
        siblings = []
        commit = "" if revision is None and (repo, "main") not in self.branches else self.commit_of(repo, revision)
        if commit:
            siblings = [
                RepoSibling(path.name, self.sizes.get(path.name, path.stat().st_size))
                for path in self.files(repo, commit).iterdir()
            ]
        elif repo not in self.private:
            raise RepositoryNotFoundError("404", response=answer(404))
        info = ModelInfo(id=repo, sha=commit, private=self.private[repo])
        info.siblings = siblings
        return info

    def download(self, repo: str, name: str, revision: str | None, local_files_only: bool = False, **_: Any) -> str:
        """As the client caches: files by commit, as links; and the commit of a branch that was asked for by name."""
        cache = self.root / "cache" / repo.replace("/", "--")
        ref = cache / "refs" / (revision or "main")
        if local_files_only or not self.online:
            link = cache / (ref.read_text() if ref.exists() else str(revision)) / name
            if not link.exists():
                raise LocalEntryNotFoundError("not in the cache")
            return str(link)
        self.downloads.append(name)
        commit = self.commit_of(repo, revision)
        if commit != revision:
            ref.parent.mkdir(parents=True, exist_ok=True)
            ref.write_text(commit)
        blob, link = cache / "blobs" / f"{commit}-{name}", cache / commit / name
        for path in (blob, link):
            path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.files(repo, revision) / name, blob)
        link.unlink(missing_ok=True)
        link.symlink_to(blob)
        return str(link)

    def create_repo(self, repo: str, private: bool | None = None, **_: Any) -> Any:
        if not self.online:
            raise OfflineModeIsEnabled("offline")
        if not self.may_write:
            raise HfHubHTTPError("403 Forbidden", response=answer(403))
        self.private.setdefault(repo, bool(private))

        class Url(str):
            repo_id = repo

        return Url(f"https://hub.test/{repo}")

    def create_branch(self, repo: str, branch: str, **_: Any) -> None:
        self.branches.setdefault((repo, branch), self.branches.get((repo, "main"), ""))

    def upload_folder(
        self, repo_id: str, folder_path: Path, commit_message: str, revision: str | None, **_: Any
    ) -> Any:
        before = self.branches.get((repo_id, revision or "main"), "")
        commit = hashlib.sha1(f"{before}{commit_message}{len(self.messages)}".encode()).hexdigest()
        made = self.root / repo_id.replace("/", "--") / commit
        if before:
            shutil.copytree(self.root / repo_id.replace("/", "--") / before, made)
        shutil.copytree(folder_path, made, dirs_exist_ok=True)
        self.branches[repo_id, revision or "main"] = commit
        self.messages.append(commit_message)
        return SimpleNamespace(oid=commit)


def installed(root: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """A stand-in that kswap takes for the Hub until the end of the test; its calls must be such as the client takes."""
    fake = FakeHub(root)
    api = create_autospec(HfApi)
    for name in ("repo_info", "create_repo", "create_branch", "upload_folder"):
        getattr(api.return_value, name).side_effect = getattr(fake, name)
    monkeypatch.setattr(client, "HfApi", api)
    monkeypatch.setattr(client, "hf_hub_download", create_autospec(hf_hub_download, side_effect=fake.download))
    monkeypatch.setattr(client, "quick_when_offline", contextlib.nullcontext)
    return fake
