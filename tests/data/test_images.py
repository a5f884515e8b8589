"""Image folders and zips of them: what is found, and one sentence for whatever is wrong with them."""

from __future__ import annotations

import io
import os
import pickle
import re
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from pictures_fixture import CLASSES, noise, png, zipped
from PIL import Image

from kswap.data.decoding import MOST_PIXELS, SUFFIXES, decode, read_picture
from kswap.data.images import ImageSet
from kswap.errors import DataError


def refused(match: str, path: Path, split: str | None = None, read: bool = False) -> None:
    """One sentence that says what ``match`` does, when opened or when the first picture is read."""
    with pytest.raises(DataError, match=match) as caught:
        _ = ImageSet(path, split).picture(0) if read else ImageSet(path, split)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_folder_and_a_zip_of_it_are_the_same_data_set(folder: Path, archive: Path) -> None:
    from_folder, from_zip = ImageSet(folder, "test"), ImageSet(archive)
    for images in (from_folder, from_zip):
        assert images.classes == CLASSES
        assert images.split == "test"
        assert images.labels == (0,) * 8 + (1,) * 8 + (2,) * 8
        assert len(images) == 24
    assert from_folder.splits == ("test", "train")
    for number in range(24):
        assert from_folder[number][1] == from_zip[number][1]
        assert np.array_equal(np.asarray(from_folder[number][0]), np.asarray(from_zip[number][0]))
    assert np.array_equal(np.asarray(from_zip.picture(9)), np.asarray(noise(103)))


def test_class_folders_without_splits_and_a_folder_around_everything(folder: Path, tmp_path: Path) -> None:
    plain = ImageSet(folder / "train")
    assert (plain.split, plain.splits, plain.classes, len(plain)) == (None, (), CLASSES, 6)
    wrapped = zipped(tmp_path / "w.zip", {f"outer/{s}/{c}/1.png": png(noise(1)) for s in ("a", "b") for c in CLASSES})
    assert ImageSet(wrapped, "b").names == tuple(f"outer/b/{c}/1.png" for c in CLASSES)


def test_classes_are_those_of_all_splits(tmp_path: Path) -> None:
    path = zipped(tmp_path / "z.zip", {"train/a/1.png": png(noise(0)), "train/b/1.png": b"", "test/b/1.png": b""})
    images = ImageSet(path, "test")
    assert images.classes == ("a", "b")
    assert images.labels == (1,)


def test_items_are_transformed_and_the_data_set_goes_to_workers(archive: Path) -> None:
    images = ImageSet(archive, transform=_width)
    assert images[0] == (16, 0)
    assert pickle.loads(pickle.dumps(images))[23] == (16, 2)


def _width(picture: Image.Image) -> int:
    return picture.width


def test_a_split_has_to_be_chosen_and_to_exist(folder: Path, archive: Path) -> None:
    refused("has the splits test, train: choose one with --split", folder)
    refused("has no split 'tests': it has test, train; did you mean test", folder, "tests")
    refused("has no split 'val'", archive, "val")
    refused("leave out --split", folder / "train", "test")


def test_places_that_are_no_data_set(tmp_path: Path) -> None:
    refused("there is no folder or zip file", tmp_path / "missing")
    (tmp_path / "a.txt").write_text("text")
    refused("neither a folder nor a whole zip", tmp_path / "a.txt")
    (tmp_path / "empty").mkdir()
    refused("has no pictures", tmp_path / "empty")
    refused("no pictures", zipped(tmp_path / "e.zip", {}))
    refused("no class folders", zipped(tmp_path / "flat.zip", {"1.png": b"", "2.png": b""}))
    refused("do not agree", zipped(tmp_path / "mixed.zip", {"a/1.png": b"", "x/b/2.png": b""}))
    refused("too deep", zipped(tmp_path / "deep.zip", {"1/a/b/c/1.png": b"", "2/a/b/c/1.png": b""}))


def test_a_truncated_zip(archive: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.zip"
    short.write_bytes(archive.read_bytes()[:-200])
    refused("neither a folder nor a whole zip", short)


def test_a_zip_with_a_damaged_directory(archive: Path, tmp_path: Path) -> None:
    data = bytearray(archive.read_bytes())
    data[data.rindex(b"PK\x01\x02")] = 0
    broken = tmp_path / "broken.zip"
    broken.write_bytes(data)
    refused("is not a whole zip file", broken)


def test_a_zip_with_a_damaged_member(tmp_path: Path) -> None:
    path = zipped(tmp_path / "z.zip", {"a/1.png": png(noise(0))})
    data = bytearray(path.read_bytes())
    data[200] ^= 255
    path.write_bytes(data)
    refused("a/1.png cannot be read: Bad CRC-32", path, read=True)


def test_an_encrypted_zip(tmp_path: Path) -> None:
    path = zipped(tmp_path / "z.zip", {"a/1.png": png(noise(0))})
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    refused("encrypted", path, read=True)


@pytest.mark.parametrize("name", ["../a/1.png", "/a/1.png", "a/../../1.png", "a\\b\\1.png"])
def test_names_that_lead_out_of_a_zip(tmp_path: Path, name: str) -> None:
    refused("leads out of it", zipped(tmp_path / "z.zip", {name: png(noise(0))}))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "z.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/1.png", b"1")
        archive.writestr("a/1.png", b"2")
    refused("two files 'a/1.png'", path)


def test_files_that_are_no_pictures(tmp_path: Path) -> None:
    refused("a/1.png is not a picture", zipped(tmp_path / "1.zip", {"a/1.png": b"hello"}), read=True)
    refused("a/1.png is not a picture", zipped(tmp_path / "2.zip", {"a/1.png": b""}), read=True)
    whole = png(noise(0, (64, 64)))
    refused("a/1.png is a damaged picture", zipped(tmp_path / "3.zip", {"a/1.png": whole[:2000]}), read=True)


def _huge_png(width: int, height: int) -> bytes:
    """A small file that says it is a picture of so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("side", [8_200, 10_000, 60_000])
def test_pixel_bombs_are_not_decoded(tmp_path: Path, side: int) -> None:
    assert side * side > MOST_PIXELS
    refused("too many pixels", zipped(tmp_path / "z.zip", {"a/1.png": _huge_png(side, side)}), read=True)


def test_byte_bombs_are_not_unpacked_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kswap.data.decoding.MOST_BYTES", 2**20)
    path = tmp_path / "z.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.png", bytes(2**22))
    assert path.stat().st_size < 2**14
    refused("too large for a picture", path, read=True)
    (tmp_path / "f" / "a").mkdir(parents=True)
    (tmp_path / "f" / "a" / "1.png").write_bytes(bytes(2**21))
    refused("too large for a picture", tmp_path / "f", read=True)


def test_a_folder_that_links_to_itself_ends(folder: Path) -> None:
    (folder / "train" / "red" / "again").symlink_to(folder / "train")
    refused("do not agree", folder / "train")


def test_a_link_to_nowhere_is_ignored(folder: Path) -> None:
    (folder / "train" / "red" / "gone.png").symlink_to(folder / "nowhere.png")
    assert len(ImageSet(folder, "train")) == 6


def test_a_picture_that_vanishes(folder: Path) -> None:
    images = ImageSet(folder, "train")
    (folder / "train" / "blue" / "0.png").unlink()
    with pytest.raises(DataError, match=re.escape("0.png cannot be read: No such file")):
        images.picture(0)


@pytest.mark.parametrize(
    ("mode", "expected"), [("1", "L"), ("L", "L"), ("LA", "RGB"), ("P", "RGB"), ("RGBA", "RGB"), ("I;16", "L")]
)
def test_every_kind_of_picture_is_rgb_or_grey(tmp_path: Path, mode: str, expected: str) -> None:
    values = np.linspace(0, 255, 64, dtype=np.uint8).reshape(8, 8)
    made = Image.fromarray(values.astype(np.uint16) * 256) if mode == "I;16" else Image.fromarray(values).convert(mode)
    picture = ImageSet(zipped(tmp_path / "z.zip", {"a/1.png": png(made)})).picture(0)
    assert picture.mode == expected
    if mode != "1":
        assert np.array_equal(np.asarray(picture.convert("L")), values)


def test_a_single_picture_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    noise(0, (20, 10)).save(buffer, format="JPEG", exif=exif)
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    assert read_picture(tmp_path / "a.jpg").size == (10, 20)
    with pytest.raises(DataError, match="there is no file"):
        read_picture(tmp_path / "b.jpg")
    (tmp_path / "c.jpg").write_text("no")
    with pytest.raises(DataError, match="is not a picture that kswap reads"):
        read_picture(tmp_path / "c.jpg")


def test_the_content_does_not_choose_the_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An EPS that is called a PNG: Pillow alone would start Ghostscript for it."""
    started: list[object] = []
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *arguments, **_: started.append(arguments))
    buffer = io.BytesIO()
    noise(0).save(buffer, format="EPS")
    with pytest.raises(DataError, match=r"is not a picture that kswap reads \(BMP, GIF, JPEG, PNG,"):
        decode(buffer.getvalue(), "a.png")
    refused("a/1.png is not a picture", zipped(tmp_path / "z.zip", {"a/1.png": buffer.getvalue()}), read=True)
    assert not started


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_every_suffix_that_is_listed_is_read(tmp_path: Path, suffix: str) -> None:
    noise(0).save(tmp_path / f"a{suffix}")
    assert read_picture(tmp_path / f"a{suffix}").size == (16, 16)


def test_a_pipe_is_not_a_picture(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png is not a file"):
        read_picture(tmp_path / "a.png")
