"""What may be calibrated with: samples, batches, loaders, pictures; and what is said of all else."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from kswap.errors import DataError
from kswap.graph.call import Call
from kswap.projection.calibration import Calibration, calibration_of

CALL = Call((torch.zeros(1, 3, 8, 8),))


def pictures(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (40, 30), (number, 0, 0)).save(folder / f"{number}.png")
    return folder


def test_a_tensor_is_split_into_batches() -> None:
    made = Calibration.of(torch.randn(100, 3, 8, 8))
    assert made.samples == sum(len(batch.args[0]) for batch in made.batches) == 100
    assert max(len(batch.args[0]) for batch in made.batches) <= 64


def test_labels_of_a_loader_are_ignored() -> None:
    loader = DataLoader(TensorDataset(torch.randn(10, 3, 8, 8), torch.zeros(10)), batch_size=4)
    made = Calibration.of(loader, CALL)
    assert made.samples == 10
    assert all(len(batch.args) == 1 for batch in made.batches)


def test_batches_end_after_enough_samples() -> None:
    made = Calibration.of((torch.randn(4, 3, 8, 8) for _ in range(100)), CALL, images=10)
    assert made.samples == 12


def test_keyword_arguments() -> None:
    made = Calibration.of([{"input_ids": torch.zeros(3, 7, dtype=torch.long)}])
    assert made.samples == 3
    assert list(made.batches[0].kwargs) == ["input_ids"]


def test_pictures_become_inputs_in_the_way_of_the_model(tmp_path: Path) -> None:
    pictures(tmp_path / "train", 5)
    pictures(tmp_path / "val", 3)
    model = timm.create_model("test_efficientnet").half()
    made = calibration_of(tmp_path, model, CALL, images=4, seed=0)
    assert made.samples == 4  # of the training pictures
    (batch,) = made.batches
    assert batch.args[0].shape == (4, 3, 8, 8)
    assert batch.args[0].dtype == torch.float16
    again, other = (calibration_of(tmp_path, model, CALL, images=4, seed=seed) for seed in (0, 1))
    assert torch.equal(again.batches[0].args[0], batch.args[0])
    assert not torch.equal(other.batches[0].args[0], batch.args[0])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "holds no samples"),
        (torch.zeros(0, 3, 8, 8), "holds no samples"),
        (3, "must be tensors or a path"),
        ([torch.tensor(1.0)], "must start with a tensor"),
    ],
)
def test_what_cannot_calibrate(data: object, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Calibration.of(data, CALL)


def test_a_path_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        calibration_of(tmp_path / "nowhere", nn.Conv2d(3, 3, 1), CALL)
