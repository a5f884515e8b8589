"""From paths and names to pictures: several parts of one set, a part held out, what the model sees."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures_fixture import CLASSES, Flat, noise, png, zipped

import kswap
from kswap.data.held_out import hold_out
from kswap.data.images import ImageSet
from kswap.data.opening import image_set, picture_set
from kswap.data.prepared import PreparedPictures, fingerprint
from kswap.data.preprocessing import Preprocessing
from kswap.errors import DataError

SMALL = Preprocessing((3, 16, 16))


def part(path: Path, first: int, count: int = 2, classes: tuple[str, ...] = CLASSES, split: str = "train") -> Path:
    """A zip with ``count`` pictures of each class; their seeds and names start at ``first``."""
    numbers = range(first, first + count)
    return zipped(
        path, {f"{split}/{name}/{n}.png": png(noise(n + 10 * i)) for i, name in enumerate(classes) for n in numbers}
    )


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    return [part(tmp_path / "0.zip", 0), part(tmp_path / "1.zip", 2), part(tmp_path / "2.zip", 4)]


def test_several_zips_are_one_set(parts: list[Path]) -> None:
    joined, single = image_set(parts), [ImageSet(path) for path in parts]
    assert (len(joined), joined.classes, joined.split, joined.splits) == (18, CLASSES, "train", ("train",))
    assert joined.labels == (0, 0, 1, 1, 2, 2) * 3
    for number in range(18):
        own = single[number // 6]
        assert np.array_equal(np.asarray(joined.picture(number)), np.asarray(own.picture(number % 6)))
        assert joined.title(number) == own.title(number % 6)
        assert joined.version(number) == own.version(number % 6)
    assert joined[-1][1] == 2
    assert joined.title(-1) == joined.title(17)
    with pytest.raises(IndexError):
        joined.picture(18)
    assert pickle.loads(pickle.dumps(joined)).title(7) == joined.title(7)
    assert joined.source == ", ".join(map(str, parts))


def test_one_part_is_the_set_itself_and_an_open_set_stays_as_it_is(parts: list[Path]) -> None:
    assert isinstance(image_set([parts[0]]), ImageSet)
    opened = image_set(parts)
    assert image_set(opened) is opened
    assert picture_set(opened) is opened


def test_parts_without_labels_find_them_again(parts: list[Path], tmp_path: Path) -> None:
    pictures = picture_set(parts)
    assert pictures.labelled().labels == image_set(parts).labels  # type: ignore[union-attr]
    assert pictures.with_split("train").classes == CLASSES
    loose = zipped(tmp_path / "loose.zip", {"1.png": png(noise(1))})
    mixed = picture_set([parts[0], loose])
    assert (len(mixed), mixed.split, mixed.labelled()) == (7, None, None)
    with pytest.raises(DataError, match="have no labels"):
        image_set(mixed)
    assert picture_set([parts[0], part(tmp_path / "o.zip", 0, classes=("a", "b", "c"))]).labelled() is None


def test_parts_that_do_not_belong_together(parts: list[Path], tmp_path: Path) -> None:
    other = part(tmp_path / "other.zip", 0, classes=(*CLASSES[:2], "yellow"))
    with pytest.raises(DataError, match=r"no parts of one data set.*'red' is in one of them only"):
        image_set([parts[0], other])
    test = part(tmp_path / "test.zip", 0, split="test")
    with pytest.raises(DataError, match=r"has the split train and .* the split test: pass together only"):
        image_set([parts[0], test])
    with pytest.raises(DataError, match="has no split 'train': it has test"):
        image_set([parts[0], test], "train")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("torchvison:CIFAR10", "no folder or zip file torchvison:CIFAR10; did you mean torchvision"),
        (
            "torchvision/CIFAR10",
            "file torchvision/CIFAR10; the data set is written torchvision:CIFAR10",
        ),
        ("photos", "no folder or zip file photos$"),
        ([], "must be a path, a name or several"),
        ([1, 2], "must be a path, a name or several"),
    ],
)
def test_what_names_no_data(data: object, says: str) -> None:
    for opened in (image_set, picture_set):
        with pytest.raises(DataError, match=says):
            opened(data)  # type: ignore[operator]


def test_a_share_of_each_class_is_held_out(tmp_path: Path) -> None:
    counts = zip(CLASSES, (10, 20, 33), strict=True)
    path = zipped(
        tmp_path / "z.zip", {f"{name}/{n:02}.png": png(noise(n)) for name, count in counts for n in range(count)}
    )
    images = ImageSet(path)
    train, validation = hold_out(images, 0.1, seed=3)
    assert Counter(validation.labels) == {0: 1, 1: 2, 2: 3}
    assert sorted((*train.numbers, *validation.numbers)) == list(range(63))
    for chosen in (train, validation):
        assert list(chosen.numbers) == sorted(chosen.numbers)
        assert chosen.labels == tuple(images.labels[number] for number in chosen.numbers)
        assert chosen.title(5) == images.title(chosen.numbers[5])
        assert np.array_equal(np.asarray(chosen[4][0]), np.asarray(images.picture(chosen.numbers[4])))
    assert hold_out(ImageSet(path), 0.1, seed=3)[1].numbers == validation.numbers
    assert hold_out(images, 0.1, seed=4)[1].numbers != validation.numbers
    assert len({fingerprint(chosen) for chosen in (images, train, validation)}) == 3
    assert validation.split == "0.1 of all (seed 3)"


@pytest.mark.parametrize(
    ("share", "says"),
    [(0.0, "above 0"), (1.0, "below 1"), (0.01, "0.01 of the 8 .*is none"), (0.99, "is all")],
)
def test_shares_that_hold_out_nothing_or_everything(folder: Path, share: float, says: str) -> None:
    with pytest.raises(DataError, match=says):
        hold_out(ImageSet(folder, "test"), share)


def test_pixels_are_what_the_model_sees(parts: list[Path]) -> None:
    images = image_set(parts)
    grey = Preprocessing((1, 16, 16), mean=(0.5,))
    for preprocessing in (SMALL, grey, Preprocessing((3, 12, 20)), Preprocessing((3, 16, 16), crop=0.5)):
        pixels = PreparedPictures(images, preprocessing).pixels(range(18))
        assert torch.equal(pixels, torch.stack([preprocessing.pixels(images.picture(n)) for n in range(18)]))


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = zipped(tmp_path / "z.zip", {"a/1.png": png(noise(0)), "b/1.png": b"no"})
    with pytest.raises(DataError, match=r"z\.zip/b/1\.png is not a picture"):
        PreparedPictures(image_set(path), SMALL).pixels([0, 1])


def test_a_model_is_evaluated_on_several_zips(parts: list[Path]) -> None:
    measured = kswap.evaluate(Flat(), parts, preprocessing=SMALL)
    single = [kswap.evaluate(Flat(), path, preprocessing=SMALL) for path in parts]
    assert measured.images == 18
    assert measured.correct == sum(one.correct for one in single)
    assert measured.data == ", ".join(map(str, parts))
