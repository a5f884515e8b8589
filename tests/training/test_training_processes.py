"""Several processes train one model together, as torchrun starts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
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
SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = {tests!r}
import torch
torch.set_num_threads(1)
from test_training_processes import RECIPE
from training_fixture import trained
done = trained(Path({data!r}), recipe=RECIPE, out={out!r}, checkpoint_seconds=0.0)
print(done.top1, len(done.record.measured))
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def test_two_processes_with_half_the_batch_are_one_with_the_whole(tmp_path: Path) -> None:
    data = classes(tmp_path / "pictures", train=8, test=3)
    tests = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    script = SCRIPT.format(tests=tests, data=str(data), out=str(tmp_path / "two"))
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    told = [process.communicate(timeout=200) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert told[0][0] == told[1][0]  # both measured all pictures together
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
