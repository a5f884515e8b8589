"""Pictures without labels, in any arrangement."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pictures_fixture import noise, png, zipped

from kswap.data.unlabelled import UnlabelledImageSet
from kswap.errors import DataError


def made(path: Path, *names: str) -> Path:
    return zipped(path, {name: png(noise(number)) for number, name in enumerate(names)})


def test_pictures_of_any_depth_in_the_order_of_their_names(tmp_path: Path) -> None:
    images = UnlabelledImageSet(made(tmp_path / "any.zip", "b/c/2.png", "1.png", "a/3.png", "a/.hidden.png", "a.txt"))
    assert images.names == ("1.png", "a/3.png", "b/c/2.png")
    assert images.split is None
    assert np.array_equal(np.asarray(images[2]), np.asarray(noise(0)))
    assert images.title(0).endswith("any.zip/1.png")


def test_a_folder_of_pictures_without_class_folders(tmp_path: Path) -> None:
    for number in range(3):
        noise(number).save(tmp_path / f"{number}.png")
    images = UnlabelledImageSet(tmp_path, transform=lambda picture: picture.size)
    assert [images[number] for number in range(len(images))] == [(16, 16)] * 3


@pytest.mark.parametrize("around", ["", "outer/", "a/b/"])
def test_training_pictures_are_taken_and_those_held_out_are_not(tmp_path: Path, around: str) -> None:
    archive = made(tmp_path / "z.zip", *(f"{around}{split}/{c}/1.png" for split in ("train", "val") for c in "ab"))
    images = UnlabelledImageSet(archive)
    assert (images.split, images.names) == ("train", (f"{around}train/a/1.png", f"{around}train/b/1.png"))
    assert UnlabelledImageSet(archive, "val").names == (f"{around}val/a/1.png", f"{around}val/b/1.png")


def test_train_alone_is_train_and_classes_are_no_splits(tmp_path: Path) -> None:
    alone = UnlabelledImageSet(made(tmp_path / "t.zip", "train/1.png", "train/2.png"))
    assert (alone.split, len(alone)) == ("train", 2)
    nested = made(tmp_path / "n.zip", "train/cat/1.png", "train/dog/1.png")
    assert len(UnlabelledImageSet(nested)) == len(UnlabelledImageSet(nested, "train")) == 2
    classes = UnlabelledImageSet(made(tmp_path / "c.zip", "cat/1.png", "dog/1.png", "dog/2.png"))
    assert (classes.split, len(classes)) == (None, 3)


def test_places_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no folder or zip file"):
        UnlabelledImageSet(tmp_path / "missing")
    with pytest.raises(DataError, match=r"has no pictures"):
        UnlabelledImageSet(tmp_path)
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(DataError, match=r"neither a folder nor a whole zip file: pass one of pictures"):
        UnlabelledImageSet(tmp_path / "a.txt")
    with pytest.raises(DataError, match=r"has no folder 'trian': it has train, val; did you mean train"):
        UnlabelledImageSet(made(tmp_path / "z.zip", "train/1.png", "val/1.png"), "trian")
    with pytest.raises(DataError, match=r"its pictures lie in no folders"):
        UnlabelledImageSet(made(tmp_path / "f.zip", "1.png"), "train")
