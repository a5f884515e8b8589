"""The processes that train one model together: those that torchrun started, or this one alone."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

from kswap.errors import TrainingError

Value = TypeVar("Value")


@dataclass(frozen=True)
class Processes:
    """The number of this process among ``count``, and among those on the same machine (``local``)."""

    rank: int = 0
    count: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return self.rank == 0

    def part_of(self, batch: int) -> slice:
        """The rows of a batch that this process trains on. Raises :class:`TrainingError` where parts differ in size.

        >>> Processes(1, 2).part_of(8)
        slice(4, 8, None)
        """
        if batch % self.count:
            raise TrainingError(f"a batch of {batch} cannot be shared by {self.count} processes: choose a multiple")
        size = batch // self.count
        return slice(self.rank * size, (self.rank + 1) * size)

    def sum_of(self, values: Tensor) -> Tensor:
        """The sum of the tensors of all processes."""
        if self.count > 1:
            values = values.clone()
            distributed.all_reduce(values)
        return values

    def from_first(self, value: Value) -> Value:
        """What the first process holds."""
        if self.count == 1:
            return value
        held = [value]
        distributed.broadcast_object_list(held)
        return held[0]

    def share_buffers_(self, model: nn.Module) -> None:
        """Give ``model`` the buffers that it has in the first process: norms have seen other pictures in each."""
        if self.count > 1:
            for buffer in model.buffers():
                distributed.broadcast(buffer, 0)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            distributed.barrier()


def is_first_process() -> bool:
    """Whether this process is the one that writes and prints, by the variables that torchrun sets."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def joined_processes() -> Iterator[Processes]:
    """The processes that train together, connected inside: NCCL where there are GPUs, gloo otherwise.

    A group that the caller made is used, and stays. Otherwise the variables that torchrun sets say whether there are
    others; without them this process is alone.
    """
    if not distributed.is_available():
        yield Processes()
        return
    own = not distributed.is_initialized()
    if own and int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield Processes()
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if own:
        if torch.cuda.is_available():
            torch.cuda.set_device(local)
        # The strides of 1x1 kernels are not unique, and the reducer remarks on that in each process.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides", UserWarning)
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size(), local)
    finally:
        if own:
            distributed.destroy_process_group()
