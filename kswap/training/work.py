"""The directory that a run works in until it is done, so that it continues after being killed at any moment."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from kswap.codec import encode
from kswap.errors import KswapError, SavedError, TrainingError, excerpt, first_line, wording
from kswap.files import PARTIAL, read_json, replace_file, sync_directory, write_text
from kswap.locking import directory_lock
from kswap.saved.directory import check_writable
from kswap.saved.replacing import exchange
from kswap.trials import changed

_SETTINGS, _CHECKPOINT = "settings.json", "checkpoint.pt"


class WorkDirectory:
    """A directory beside the result of a run: what was asked for, and how far it is.

    Args:
        path: The directory.
        settings: What was asked for, as JSON values: a run is only continued with the same.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.settings = encode(settings)

    @contextlib.contextmanager
    def opened(self, resume: bool) -> Iterator[None]:
        """Hold the directory for this process alone; with ``resume`` what it holds stays, and is removed otherwise.

        A directory that holds nothing to continue is removed where an exception ends the run.

        Raises:
            TrainingError: Another process works in it, it was begun with other settings, or it cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with directory_lock(self.path) as held:
                if held is False:
                    raise TrainingError(
                        f"another process works in {excerpt(self.path, 200)}: wait for it, or choose another directory"
                    )
                if not resume:
                    self._empty()
                self._check_settings()
                for left in self.path.glob(f".*{PARTIAL}"):
                    left.unlink(missing_ok=True)
                try:
                    yield
                except BaseException:
                    if os.listdir(self.path) == [_SETTINGS]:  # nothing to continue
                        shutil.rmtree(self.path, ignore_errors=True)
                    raise
        except OSError as error:
            raise TrainingError(
                f"{excerpt(self.path, 200)} cannot be written: {error.strerror or error}; choose another directory"
            ) from error

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint, whole or not at all."""
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        replace_file(self.path / _CHECKPOINT, buffer.getvalue())

    def load(self) -> dict[str, Any] | None:
        """The checkpoint, read without running anything in it; ``None`` where there is none yet.

        Raises:
            TrainingError: It is damaged.
        """
        path = self.path / _CHECKPOINT
        if not path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # unpickling a damaged file raises whatever it meets
            raise TrainingError(f"the checkpoint {path} is damaged ({first_line(error)}): {_anew()}") from error
        return state

    def move(self, fresh: Path, target: Path, force: bool) -> None:
        """Move a finished directory to its place in one step, and remove this one.

        Raises:
            SavedError: Something else appeared in the place meanwhile, or it cannot be written.
        """
        check_writable(target, force)  # what appeared meanwhile
        try:
            if not (target.exists() and exchange(fresh, target)):
                if target.exists():  # empty, or where the system cannot exchange
                    shutil.rmtree(target)
                fresh.rename(target)
        except OSError as error:
            raise SavedError(f"{excerpt(target, 200)} cannot be written: {error.strerror}") from error
        sync_directory(target.parent)
        shutil.rmtree(self.path, ignore_errors=True)

    def remove(self) -> None:
        """Remove the directory of a run that is done, if it is one with these settings."""
        with contextlib.suppress(KswapError):
            if read_json(self.path / _SETTINGS, TrainingError) == self.settings:
                shutil.rmtree(self.path, ignore_errors=True)

    def _empty(self) -> None:
        for name in os.listdir(self.path):
            inner = self.path / name
            if inner.is_dir() and not inner.is_symlink():
                shutil.rmtree(inner)
            else:
                inner.unlink()

    def _check_settings(self) -> None:
        path = self.path / _SETTINGS
        if not path.is_file():
            if any(not name.endswith(PARTIAL) for name in os.listdir(self.path)):
                raise TrainingError(f"{excerpt(self.path, 200)} holds files that are not of this run: remove it")
            write_text(path, json.dumps(self.settings, indent=1), TrainingError)
            return
        before = read_json(path, TrainingError, "settings")
        if not isinstance(before, dict):
            raise TrainingError(f"{path} holds no settings of a run: {_anew()}")
        other = changed(before, self.settings)
        if other:
            raise TrainingError(
                f"{excerpt(self.path, 200)} holds an unfinished run with other settings ({other}): {_anew()}, or "
                "choose another directory for the result"
            )


def _anew() -> str:
    return wording("pass resume=False to start anew", "start anew with --restart")
