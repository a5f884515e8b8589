"""Public data sets by name, with stand-ins for torchvision's downloads and for the package of Hugging Face."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torchvision.datasets
from pictures_fixture import noise, png
from PIL import Image

from kswap.cli.main import main
from kswap.data.named.torchvision_sets import TORCHVISION_SETS, default_data_dir
from kswap.data.opening import image_set, picture_set
from kswap.data.prepared import fingerprint
from kswap.errors import DataError


class FakeCIFAR10(torchvision.datasets.FakeData):
    """Twenty random pictures of two classes, there once they were downloaded."""

    classes = ("cat", "dog")
    downloads = 0

    def __init__(self, root: str, train: bool, download: bool) -> None:
        super().__init__(20, (3, 16, 16), 2)
        if download:
            FakeCIFAR10.downloads += 1
            (Path(root) / "batches").touch()
        if not (Path(root) / "batches").exists():
            raise RuntimeError("Dataset not found or corrupted. You can use download=True to download it")
        self.data = np.stack([np.asarray(noise(number + 100 * train)) for number in range(20)])
        self.targets = [number % 2 for number in range(20)]

    def __getitem__(self, number: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self.data[number]), self.targets[number]


class FakeFood101:
    """Files of pictures, as most sets of torchvision have them; the second is gone."""

    classes = ("pie", "soup")

    def __init__(self, root: str, split: str, download: bool) -> None:
        noise(1).save(Path(root) / "1.png")
        self._image_files = [Path(root) / "1.png", Path(root) / "2.png"]
        self._labels = [1, 0]


@pytest.fixture
def cifar(monkeypatch: pytest.MonkeyPatch) -> type[FakeCIFAR10]:
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", FakeCIFAR10)
    monkeypatch.setattr(FakeCIFAR10, "downloads", 0)
    return FakeCIFAR10


def test_a_set_of_torchvision_is_downloaded_once(cifar: type[FakeCIFAR10], tmp_path: Path) -> None:
    place = tmp_path / "new" / "place"
    images = image_set("torchvision:cifar10", "test", place)
    assert (images.source, images.split, images.splits) == ("torchvision:CIFAR10", "test", ("train", "test"))
    assert (images.classes, images.labels, len(images)) == (("cat", "dog"), (0, 1) * 10, 20)
    assert np.array_equal(np.asarray(images[3][0]), np.asarray(noise(3)))
    assert images.title(3) == "torchvision:CIFAR10/test/3"
    train = images.with_split("train")
    assert np.array_equal(np.asarray(train.picture(3)), np.asarray(noise(103)))
    assert cifar.downloads == 1
    assert picture_set("torchvision:CIFAR10", None, place).split == "train"


def test_changed_pictures_have_another_fingerprint(cifar: type[FakeCIFAR10], tmp_path: Path) -> None:
    found = [image_set("torchvision:CIFAR10", split, tmp_path) for split in ("test", "test", "train")]
    assert fingerprint(found[0]) == fingerprint(found[1]) != fingerprint(found[2])
    found[1]._dataset.data[5, 0, 0, 0] ^= 1  # type: ignore[attr-defined]
    assert fingerprint(found[0]) != fingerprint(found[1])


def test_torchvision_sets_join(cifar: type[FakeCIFAR10], tmp_path: Path) -> None:
    joined = image_set(["torchvision:CIFAR10", "torchvision:CIFAR10"], "test", tmp_path)
    assert (len(joined), joined.source) == (40, "torchvision:CIFAR10, torchvision:CIFAR10")


def test_files_of_torchvision_are_read_by_our_own_decoder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torchvision.datasets, "Food101", FakeFood101)
    images = image_set("torchvision:Food101", "train", tmp_path)
    assert np.array_equal(np.asarray(images.picture(0)), np.asarray(noise(1)))
    assert (images.labels, images.names) == ((1, 0), ("train/1.png", "train/2.png"))
    for ask in (images.picture, images.version):
        with pytest.raises(DataError, match=r"2\.png cannot be read: No such file"):
            ask(1)
    before = images.version(0)
    noise(1, (20, 20)).save(tmp_path / "1.png")
    assert images.version(0) != before
    monkeypatch.setattr("kswap.data.decoding.MOST_BYTES", 100)
    with pytest.raises(DataError, match="too large for a picture"):
        images.picture(0)


def test_no_network_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreached(*_: object, **__: object) -> None:
        raise URLError(OSError(-3, "Temporary failure in name resolution"))

    monkeypatch.setattr("urllib.request.urlopen", unreached)
    arguments = ["evaluate", "any", "--data", "torchvision:CIFAR10", "--split", "test", "--data-dir", str(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert f"torchvision:CIFAR10 is not in {tmp_path} and cannot be downloaded" in said
    assert "Temporary failure in name resolution" in said
    assert "--data-dir" in said
    assert "Traceback" not in said


def test_a_set_that_needs_another_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def made(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'scipy'", name="scipy")

    monkeypatch.setattr(torchvision.datasets, "SVHN", made)
    with pytest.raises(DataError, match="torchvision:SVHN needs scipy: pip install scipy"):
        image_set("torchvision:SVHN", "test", tmp_path)


def test_splits_of_torchvision_are_chosen_before_anything_is_downloaded(cifar: type[FakeCIFAR10]) -> None:
    with pytest.raises(DataError, match="CIFAR10 has the splits train, test: choose one"):
        image_set("torchvision:CIFAR10")
    with pytest.raises(DataError, match="CIFAR10 has no split 'val': it has train, test"):
        picture_set("torchvision:CIFAR10", "val")
    assert cifar.downloads == 0


@pytest.mark.parametrize("name", TORCHVISION_SETS)
def test_every_set_is_one_of_torchvision_with_these_splits(name: str, tmp_path: Path) -> None:
    make = getattr(torchvision.datasets, name)
    for arguments in TORCHVISION_SETS[name].splits.values() or ({},):
        with pytest.raises(RuntimeError, match="not found"):  # and not that an argument is wrong
            make(str(tmp_path), **arguments, download=False)


def test_downloads_lie_beside_those_of_torch_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert default_data_dir() == tmp_path / "datasets"


class Feature:
    """A column of pictures, of class labels or of values: kswap tells them by the names of their classes."""

    def __init__(self, *names: str, decode: bool = True) -> None:
        self.names, self.decode = list(names), decode


Pictures, ClassLabel, Value = (type(name, (Feature,), {}) for name in ("Image", "ClassLabel", "Value"))


class Rows:
    """The part of ``datasets.Dataset`` that kswap uses."""

    def __init__(self, features: dict[str, Any], columns: dict[str, list[Any]], url: str = "") -> None:
        self.features, self._columns = features, columns
        self.info = SimpleNamespace(
            download_checksums={url: {"num_bytes": 7}}, config_name="default", version="1.0.0", size_in_bytes=7
        )

    def select_columns(self, names: list[str]) -> Rows:
        return Rows({name: self.features[name] for name in names}, {name: self._columns[name] for name in names})

    def cast_column(self, name: str, feature: Any) -> Rows:
        return Rows({**self.features, name: feature}, self._columns)

    def __getitem__(self, key: str | int) -> Any:
        if isinstance(key, str):
            return self._columns[key]
        assert not self.features["img"].decode, "kswap decodes pictures itself"
        return {name: values[key] for name, values in self._columns.items()}


def rows(url: str = "hf://x@1", **columns: list[Any]) -> Rows:
    pictures = [{"bytes": png(noise(number)), "path": None} for number in range(4)]
    features = {"id": Value(), "img": Pictures(), "label": ClassLabel("ant", "bee"), "coarse": ClassLabel("insect")}
    given = {"id": [0] * 4, "img": pictures, "label": [0, 1, 1, 0], **columns}
    return Rows({name: features[name] for name in given}, given, url)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """A stand-in for the package; ``found`` is what it loads, ``asked`` how it was asked."""
    state = SimpleNamespace(found={"train": rows(), "test": rows()}, asked=[], version="4.0.0")
    package = ModuleType("datasets")

    def load_dataset(name: str, config: str | None, cache_dir: str | None) -> Any:
        state.asked.append((name, config, cache_dir))
        if isinstance(state.found, Exception):
            raise state.found
        return state.found

    package.__dict__.update(load_dataset=load_dataset, __version__="4.0.0")
    package.__dict__["config"] = SimpleNamespace(HF_DATASETS_CACHE=tmp_path / "cache")
    monkeypatch.setitem(sys.modules, "datasets", package)
    return state


def test_a_set_of_hugging_face(hub: SimpleNamespace, tmp_path: Path) -> None:
    images = image_set("hf-datasets:owner/name", "test", tmp_path)
    assert (images.classes, images.labels, images.splits) == (("ant", "bee"), (0, 1, 1, 0), ("train", "test"))
    assert np.array_equal(np.asarray(images[2][0]), np.asarray(noise(2)))
    assert images.title(2) == "hf-datasets:owner/name/test/2"
    assert picture_set("hf-datasets:owner/name:plain").split == "train"
    assert images.with_split("train").split == "train"
    assert hub.asked == [("owner/name", None, str(tmp_path)), ("owner/name", "plain", None), hub.asked[0]]
    with pytest.raises(DataError, match="has the splits train, test: choose one"):
        image_set("hf-datasets:owner/name")


def test_other_files_of_the_hub_have_another_fingerprint(hub: SimpleNamespace) -> None:
    before = fingerprint(image_set("hf-datasets:owner/name", "test"))
    assert fingerprint(image_set("hf-datasets:owner/name", "test")) == before
    hub.found = {"test": rows("hf://x@2")}
    assert fingerprint(image_set("hf-datasets:owner/name", "test")) != before


def test_a_row_names_no_file_outside_of_the_cache(hub: SimpleNamespace, tmp_path: Path) -> None:
    noise(7).save(tmp_path / "private.png")
    (tmp_path / "cache").mkdir()
    noise(8).save(tmp_path / "cache" / "own.png")
    places = [tmp_path / "private.png", tmp_path / "cache" / "own.png", tmp_path / "cache" / ".." / "private.png", None]
    hub.found = {"test": rows(img=[{"bytes": None, "path": place and str(place)} for place in places])}
    images = image_set("hf-datasets:owner/name", "test")
    assert np.array_equal(np.asarray(images.picture(1)), np.asarray(noise(8)))
    for number in (0, 2):
        with pytest.raises(DataError, match="which is none of this data set's"):
            images.picture(number)
    with pytest.raises(DataError, match="test/3 has no picture"):
        images.picture(3)


@pytest.mark.parametrize(
    ("found", "spec", "says"),
    [
        (
            {"test": rows(coarse=[0] * 4)},
            "a/b",
            "in the columns label, coarse: choose one by hf-datasets:a/b#label",
        ),
        ({"test": rows()}, "a/b#coarse", "no labels in a column 'coarse': it has label"),
        ({"test": rows(label=[0, 1, -1, 0])}, "a/b", "has pictures without a class"),
        ({"test": Rows({"id": Value()}, {"id": [0]})}, "a/b", r"no column of pictures .*: it has id \(Value\)"),
        (ConnectionError("Couldn't reach the Hub\n" * 3), "a/b", r"cannot be loaded \(Couldn't reach the Hub\)"),
        ({}, "../b/c", "names no data set of Hugging Face: write hf-datasets:OWNER/NAME"),
        ({}, "", "names no data set of Hugging Face"),
    ],
)
def test_sets_of_hugging_face_that_are_refused(hub: SimpleNamespace, found: Any, spec: str, says: str) -> None:
    hub.found = found
    with pytest.raises(DataError, match=says):
        image_set(f"hf-datasets:{spec}")


def test_one_of_several_columns_of_labels(hub: SimpleNamespace) -> None:
    hub.found = {"test": rows(coarse=[0] * 4)}
    assert image_set("hf-datasets:a/b#coarse").classes == ("insect",)


def test_the_package_is_missing_or_would_run_code(hub: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["datasets"], "__version__", "3.6.0")
    with pytest.raises(DataError, match=r"need version 4 or newer of the package datasets: pip install 'kswap\[hf\]'"):
        image_set("hf-datasets:a/b")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"need the package datasets: pip install 'kswap\[hf\]'"):
        image_set("hf-datasets:a/b")
    assert hub.asked == []
