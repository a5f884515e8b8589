"""The study of trained networks, on a tiny network and pictures of noise."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pictures_fixture import noise

from kswap.errors import StudyError
from kswap.loading import original_model
from kswap.studies.transfer.run import results_in, run_study
from kswap.studies.transfer.settings import Settings


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A network of 3 classes with weights in a file, 12 pictures to learn from and 6 to measure on."""
    root = tmp_path_factory.mktemp("study")
    for split, count in (("train", 4), ("val", 2)):
        for number, name in enumerate(("blue", "green", "red")):
            (root / "data" / split / name).mkdir(parents=True)
            for seed in range(count):
                noise(100 * number + seed, (40, 40)).save(root / "data" / split / name / f"{seed}.png")
    torch.manual_seed(0)
    _, model = original_model("test_efficientnet", {"num_classes": 3})
    torch.save(model.state_dict(), root / "weights.pth")
    return Settings(
        model="test_efficientnet",
        model_kwargs={"num_classes": 3},
        weights=str(root / "weights.pth"),
        data=str(root / "data"),
        side=32,
        shares=(0.8, 0.7),
        main_share=0.8,
        seeds=2,
        images=64,
        early=32,
        long_images=0,
        held_out=4,
        choosing_images=32,
        calibration=8,
        latency_side=32,
    )


def test_cases_are_run_once_and_kept(settings: Settings, tmp_path: Path) -> None:
    run_study(settings, tmp_path, methods=["blocks-fresh"], shares=[0.8])
    results = results_in(tmp_path)
    assert [result.case.seed for result in results] == [0, 1]
    assert all(set(result.accuracies) == {"0", "32", "64"} for result in results)
    kept = tmp_path / "cases" / f"{results[0].case.name}.json"
    before = kept.stat().st_mtime_ns
    run_study(settings, tmp_path, methods=["blocks-fresh"])
    assert kept.stat().st_mtime_ns == before
    assert {result.case.share for result in results_in(tmp_path)} == {0.8, 0.7}
