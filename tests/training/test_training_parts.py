"""Recipes, learning rates, augmentation and the processes of a training, each by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from pictures_fixture import noise
from torch import Tensor, nn

from kswap.data.images import ImageSet
from kswap.data.preprocessing import Preprocessing
from kswap.errors import TrainingError
from kswap.training.augmentation import Augmentation, BatchAugmentation
from kswap.training.optimizer import optimizer_of
from kswap.training.pictures import TensorPictures
from kswap.training.recipe import Schedule, load_training_recipe, training_recipes
from kswap.training.schedules import schedule_of


def rates(schedule: Schedule, lr: float, epochs: int, per_epoch: int = 2) -> list[float]:
    """The learning rate of each epoch's first step."""
    optimizer = optimizer_of(nn.Linear(2, 2), "sgd", lr, 0.0)
    set_rate = schedule_of(optimizer, schedule, lr, epochs * per_epoch, lambda step: step // per_epoch)
    found = []
    for step in range(epochs * per_epoch):
        found.append(optimizer.param_groups[0]["lr"])
        set_rate(step + 1)
    return found[::per_epoch]


def papers_rate(epoch: int, period: int, floor: float = 0.0) -> float:
    """As in the notebooks of the papers."""
    e = epoch % period
    return max(0.001 * (1 + 0.5 * e) if e < 7 else 0.004 * 0.85 ** (e - 7), floor)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("papers", lambda epoch: papers_rate(epoch, 25)),
        ("papers-180-epochs", lambda epoch: papers_rate(epoch, 30, 2.5245e-4)),
        ("papers-histology", lambda epoch: papers_rate(epoch, 25, 2.5245e-4)),
        ("papers-2021", lambda epoch: 0.003 * 0.99**epoch),
    ],
)
def test_learning_rates_of_the_papers(name: str, expected: object) -> None:
    recipe = load_training_recipe(name)
    found = rates(recipe.schedule, recipe.lr, 60)
    assert callable(expected)
    assert found == pytest.approx([expected(epoch) for epoch in range(60)], rel=1e-9)


def test_the_optimizer_of_the_papers_is_that_of_keras() -> None:
    recipe = load_training_recipe("papers")
    weight = nn.Parameter(torch.tensor([1.0]))
    holder = nn.Module()
    holder.weight = weight
    optimizer = optimizer_of(holder, recipe.optimizer, recipe.lr, recipe.weight_decay, recipe.optimizer_options)
    value, square = 1.0, 0.0
    for gradient in (0.5, -2.0, 1.0):
        weight.grad = torch.tensor([gradient])
        optimizer.step()
        square = 0.9 * square + 0.1 * gradient**2
        value -= 0.001 * gradient / (math.sqrt(square) + 1e-7)
    assert weight.item() == pytest.approx(value, rel=1e-6)


def test_every_recipe_is_read() -> None:
    assert all(load_training_recipe(name).description for name in training_recipes())


def augmented(images: Tensor, epoch: int = 0, **settings: object) -> Tensor:
    torch.manual_seed(0)
    count = len(images)
    made = BatchAugmentation(Augmentation(**settings), count, seed=0)  # type: ignore[arg-type]
    return made(images, torch.arange(count), torch.full((count,), epoch), slice(None))


def pictures(count: int = 16) -> Tensor:
    return torch.rand(count, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def test_alternating_flips_show_both_sides_in_two_epochs() -> None:
    images = pictures()
    first, second, third = (augmented(images, epoch, flip="alternate") for epoch in range(3))
    assert torch.equal(first, second.flip(-1))
    assert torch.equal(first, third)
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(images, first, strict=True)]
    assert 0 < sum(mirrored) < len(images)


def test_crops_are_parts_of_the_reflected_picture() -> None:
    images = pictures()
    found = augmented(images, padding=3)
    padded = nn.functional.pad(images, (3,) * 4, mode="reflect")
    for picture, whole in zip(found, padded, strict=True):
        parts = whole.unfold(1, 12, 1).unfold(2, 12, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
        assert any(torch.equal(picture, part) for part in parts)


def test_pictures_are_moved_with_their_nearest_pixels_around() -> None:
    images = pictures()
    assert torch.allclose(augmented(images), images)
    still = augmented(images, rotation=0.0, shear=1e-6)
    assert torch.allclose(still, images, atol=1e-4)
    shifted = augmented(images, shift=0.5)
    assert shifted.amin() >= images.amin() - 1e-5  # nothing black comes in
    assert not torch.allclose(shifted, images, atol=0.1)
    turned = augmented(torch.ones(4, 3, 12, 12), rotation=180, zoom=0.5, shear=20)
    assert torch.allclose(turned, torch.ones(4, 3, 12, 12), atol=1e-5)


def test_each_process_takes_its_rows_of_the_same_batch() -> None:
    images, settings = pictures(), Augmentation(rotation=20, shift=0.2, padding=2, flip="random", vertical_flip=True)
    numbers, epochs = torch.arange(16), torch.zeros(16, dtype=torch.long)
    made = BatchAugmentation(settings, 16, seed=0)
    parts = []
    for rows in (slice(0, 16), slice(0, 8), slice(8, 16)):
        torch.manual_seed(0)
        parts.append(made(images[rows], numbers, epochs, rows))
    whole, *halves = parts
    assert torch.equal(whole, torch.cat(halves))


def test_shifted_colours_stay_within_the_picture() -> None:
    images = pictures() * 0.5 + 0.25
    found = augmented(images, channel_shift=0.2)
    assert found.amin() >= images.amin()
    assert found.amax() <= images.amax()
    assert not torch.equal(found, images)


def folder_of(path: Path, sizes: Sequence[tuple[int, int]]) -> ImageSet:
    for number, size in enumerate(sizes):
        (path / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        noise(number, size).save(path / "ab"[number % 2] / f"{number}.png")
    return ImageSet(path)


@pytest.mark.parametrize("odd", [False, True], ids=["one size", "two sizes"])
@pytest.mark.parametrize("resize", ["nearest", "linear"])
def test_pictures_in_memory_are_those_of_the_preprocessing(tmp_path: Path, resize: str, odd: bool) -> None:
    images = folder_of(tmp_path, [(8, 8)] * 5 + ([(16, 8)] if odd else [(8, 8)]))
    preprocessing = Preprocessing((3, 24, 24), resize=resize)
    pictures = TensorPictures(images, preprocessing, torch.device("cpu"), shown=False)
    expected = torch.stack([preprocessing.pixels(images.picture(number)) for number in (5, 0, 3)])
    assert torch.equal(pictures.pixels(torch.tensor([5, 0, 3])), expected)


def test_pixels_of_a_picture_that_fits_are_unchanged() -> None:
    picture, preprocessing = noise(1, (24, 24)), Preprocessing((3, 24, 24))
    whole = preprocessing.normalized(preprocessing.pixels(picture))
    assert torch.equal(whole, preprocessing(picture))


def test_a_recipe_with_endless_keys_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("a" + 200 * ".a" + " = 1")
    with pytest.raises(TrainingError, match="more than 100 parts"):
        load_training_recipe(tmp_path / "mine.toml")
