"""Several processes train one model together, as torchrun starts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from forked import free_port, queue, started
from training_fixture import QUICK, classes, trained, weights_of

import kswap
from kswap.errors import TrainingError
from kswap.training.processes import Processes
from kswap.training.record import read_record

# Each process would normalise by its own half of a batch; with the statistics fixed, halves add up to the whole.
RECIPE = {
    **QUICK,
    "norms": "frozen",
    "epochs": 3,
    "batch": 8,
    "lr": 0.01,
    "augment": {"rotation": 20, "flip": "random"},
}


def ranked(data: Path, out: Path, told: Any) -> None:
    """What each of the processes runs."""
    done = trained(data, recipe=RECIPE, out=out, checkpoint_seconds=0.0)
    told.put((done.top1, len(done.record.measured)))


def test_two_processes_with_half_the_batch_are_one_with_the_whole(tmp_path: Path) -> None:
    data = classes(tmp_path / "pictures", train=8, test=3)
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    told = queue()
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    both = [started(ranked, data, tmp_path / "two", told, **common, **rank) for rank in ranks]
    for process in both:
        process.join(timeout=200)
    assert [process.exitcode for process in both] == [0, 0]
    assert told.get(timeout=5) == told.get(timeout=5)  # both measured all pictures together
    one = trained(data, recipe=RECIPE)
    start = trained(data, recipe={**RECIPE, "lr": 1e-9})
    found = kswap.load(tmp_path / "two").model.state_dict()
    for name, tensor in weights_of(one).items():
        # The sum of a batch is added up in another order: float rounding, over nine steps.
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5)
    assert any(not torch.allclose(found[k], v, atol=1e-3) for k, v in weights_of(start).items())
    record = read_record(tmp_path / "two")
    assert [m.top1 for m in record.measured] == [m.top1 for m in one.record.measured]
    assert [m.loss for m in record.measured] == pytest.approx([m.loss for m in one.record.measured], rel=1e-4)
    assert record.settings["processes"] == 2


def test_parts_of_a_batch_have_one_size() -> None:
    with pytest.raises(TrainingError, match="a batch of 9 cannot be shared by 2 processes: choose a multiple"):
        Processes(0, 2).part_of(9)
