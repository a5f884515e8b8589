"""Processes that start quickly: forked from one that has imported what a training needs."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from typing import Any

import torch

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["kswap.training.train", "timm.task", "timm.optim", "torchvision", "matplotlib.figure"])


def started(function: Callable[..., Any], *arguments: Any, **variables: str) -> Any:
    """A process that calls ``function``, with some variables of the environment."""
    process = _CONTEXT.Process(target=_call, args=(variables, function, arguments), daemon=True)
    process.start()
    return process


def _call(variables: dict[str, str], function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ.update(variables)
    torch.set_num_threads(1)
    function(*arguments)


def queue() -> Any:
    """What such processes can tell something through."""
    return _CONTEXT.Queue()


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])
