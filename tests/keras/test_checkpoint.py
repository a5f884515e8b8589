"""The authors' trained kMobileNet, from a Keras file to its probabilities; and files that are no such thing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner

import kswap
from kswap.cli.main import main
from kswap.errors import KswapError, SavedError
from kswap.keras.checkpoint import read_checkpoint
from kswap.keras.importing import import_keras
from kswap.keras.networks import load_network_
from kswap.papers.recipes import Variant, recipe

DATA = Path(__file__).parent.parent / "data"
IMAGES = np.load(DATA / "authors_kmobilenet_32images.npz", allow_pickle=False)
OPTIONS = ["--recipe", "kmobilenet", "--ch", "16", "--scheme", "v1", "--num-classes", "10"]
KMOBILENET = Variant(recipe("kmobilenet"), ch=16, num_classes=10)

Layers = dict[str, dict[str, np.ndarray]]


def weights() -> Layers:
    """The arrays of the authors' trained kMobileNet 16ch, by Keras' names."""
    file = np.load(DATA / "authors_kmobilenet_weights.npz", allow_pickle=False)
    layers: Layers = {}
    for name in file.files:
        layer, _, kind = name.rpartition("/")
        layers.setdefault(layer, {})[kind] = file[name]
    return layers


def described(*activations: str) -> str:
    """A network as Keras describes it: a layer for each activation."""
    layers: list[dict[str, Any]] = [{"class_name": "Activation", "config": {"activation": "softmax"}}]
    layers += [{"class_name": "Conv2D", "config": {"activation": "linear"}}]
    for word in activations:
        if word == "relu6":
            layers.append({"class_name": "ReLU", "config": {"max_value": 6.0}})
        else:
            layers.append({"class_name": "Activation", "config": {"activation": word}})
    return json.dumps({"class_name": "Functional", "config": {"layers": layers}})


def write(path: Path, layers: Layers, root: str = "model_weights", chunks: int = 1, config: str | None = None) -> Path:
    """A file as Keras writes it; ``chunks`` cuts the list of layers, as Keras does with long ones."""
    with h5py.File(path, "w") as file:
        if config is not None:
            file.attrs["model_config"] = config
        group = file.create_group(root) if root else file
        names = np.array([name.encode() for name in ("input_1", *layers)])
        for number, part in enumerate(np.array_split(names, chunks)):
            group.attrs["layer_names" if chunks == 1 else f"layer_names{number}"] = part
        group.create_group("input_1").attrs["weight_names"] = np.array([], dtype="S1")
        for layer, arrays in layers.items():
            inner = group.create_group(layer)
            inner.attrs["weight_names"] = [f"{layer}/{kind}:0".encode() for kind in arrays]
            for kind, array in arrays.items():
                inner[f"{layer}/{kind}:0"] = array
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("keras") / "kmobilenet.hdf5", weights(), config=described("relu6", "swish"))


def probabilities(model: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    """What the authors' network was given: every pixel 7 times in a row and 7 rows, divided by 255."""
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    x = x.repeat_interleave(7, dim=2).repeat_interleave(7, dim=3)
    with torch.no_grad():
        return model.eval()(x).softmax(1).numpy()


@pytest.mark.parametrize("kind", ["lossless", "jpeg"])
def test_probabilities_are_those_of_the_trained_network(checkpoint: Path, kind: str) -> None:
    model = import_keras(checkpoint, KMOBILENET).model
    found = probabilities(model, IMAGES[f"x32_{kind}_uint8"])
    assert np.abs(found - IMAGES[f"probs_{kind}"]).max() <= 1e-4
    assert (found.argmax(1) == IMAGES[f"y_{kind}"]).mean() > 0.8


def test_from_the_command_line_to_a_directory_and_back(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(
        main, ["import-keras", str(checkpoint), *OPTIONS, "--out", str(out), "--format", "json"]
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    (step,) = report["provenance"]["weights"]
    assert (step["how"], step["data"], report["provenance"]["seed"]) == ("loaded", str(checkpoint), None)
    assert report["trainable_params"]["after"] == 244_298
    assert report["computations"]["after"] == 92_007_966
    found = probabilities(kswap.load(out).model, IMAGES["x32_lossless_uint8"][:4])
    assert np.abs(found - IMAGES["probs_lossless"][:4]).max() <= 1e-4


def test_weights_alone_and_long_lists_are_read_too(tmp_path: Path) -> None:
    layers = weights()
    for root, chunks in (("", 1), ("model_weights", 4)):
        checkpoint = read_checkpoint(write(tmp_path / f"{chunks}.h5", layers, root, chunks))
        assert checkpoint.activations is None
        found = checkpoint.layers
        assert list(found) == list(layers)
        assert all(
            np.array_equal(found[layer][kind], array) for layer in layers for kind, array in layers[layer].items()
        )


def test_names_and_shapes_do_not_tell_activations_apart(checkpoint: Path) -> None:
    """The weights fit a network with other activations, and its answers are wrong: the recipe has to be right."""
    wrong = kswap.convert("papers/mobilenet", ch=16, scheme="v1", num_classes=10, device="cpu").model
    load_network_(wrong, read_checkpoint(checkpoint).layers, "v1")
    assert np.abs(probabilities(wrong, IMAGES["x32_lossless_uint8"][:8]) - IMAGES["probs_lossless"][:8]).max() > 0.5


def test_other_activations_are_refused_where_the_file_describes_the_network(tmp_path: Path) -> None:
    path = write(tmp_path / "swish.h5", weights(), config=described("swish"))
    with pytest.raises(SavedError, match="has the activations silu, this one has relu6, silu: choose another recipe"):
        import_keras(path, KMOBILENET)


@pytest.mark.parametrize("config", ["", "[]", '{"config": {"layers": [3]}}', described("swash"), "[" * 100_000])
def test_a_description_that_says_nothing_is_passed_over(tmp_path: Path, config: str) -> None:
    path = tmp_path / "odd.h5"
    with h5py.File(write(path, {"conv1": {"bias": np.zeros(3, "float32")}}), "a") as file:
        file.attrs.create("model_config", config, dtype=h5py.string_dtype())
    assert read_checkpoint(path).activations is None


def test_kinds_of_activations_are_read(tmp_path: Path) -> None:
    words = ("relu", "relu6", "sigmoid", "HardSwish", "HardSigmoid", "swish")
    path = write(tmp_path / "all.h5", {"conv1": {"bias": np.zeros(3, "float32")}}, config=described(*words))
    assert read_checkpoint(path).activations == {"relu", "relu6", "sigmoid", "hard_swish", "hard_sigmoid", "silu"}


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        (Variant(recipe("kmobilenet"), ch=32, num_classes=10), "another network, ch"),
        (Variant(recipe("kmobilenet"), ch=16, num_classes=7), "number of classes"),
        (Variant(recipe("kmobilenet"), "v2", 16, num_classes=10), "no conv .* of 'conv_pw_1_bn': .* ch or scheme"),
        (Variant(recipe("kefficientnet-b0"), num_classes=10), "there is no layer 'k_stem_conv'"),
    ],
)
def test_another_network_is_refused(checkpoint: Path, variant: Variant, words: str) -> None:
    with pytest.raises(SavedError, match=words):
        import_keras(checkpoint, variant)


def test_left_over_layers_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "more.h5", weights() | {"extra": {"kernel": np.zeros((1, 1, 2, 2), "float32")}})
    with pytest.raises(SavedError, match="1 layers of the checkpoint are not in this network, the first is 'extra'"):
        import_keras(path, KMOBILENET)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def pickled(path: Path) -> None:
    path.write_bytes(b"\x80\x04\x95cos\nsystem\n")


def truncated(path: Path) -> None:
    write(path, weights())
    path.write_bytes(path.read_bytes()[:20_000])


def no_layers(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["model_weights/x"] = np.zeros(3)


def soft_link(path: Path) -> None:
    write(path, {"conv1": {"bias": np.zeros(3, "float32")}})
    with h5py.File(path, "a") as file:
        del file["model_weights/conv1/conv1/bias:0"]
        file["model_weights/conv1/conv1/bias:0"] = h5py.SoftLink("/model_weights")


def external_link(path: Path) -> None:
    write(path, {"conv1": {"bias": np.zeros(3, "float32")}})
    with h5py.File(path, "a") as file:
        del file["model_weights/conv1"]
        file["model_weights/conv1"] = h5py.ExternalLink("other.h5", "/")


def external_data(path: Path) -> None:
    write(path, {"conv1": {"bias": np.zeros(3, "float32")}})
    with h5py.File(path, "a") as file:
        del file["model_weights/conv1/conv1/bias:0"]
        file.create_dataset(
            "model_weights/conv1/conv1/bias:0", (4,), "f4", external=[(str(path.with_suffix(".bin")), 0, 16)]
        )


def virtual_data(path: Path) -> None:
    write(path, {"conv1": {"bias": np.zeros(3, "float32")}})
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (3,))
    with h5py.File(path, "a") as file:
        del file["model_weights/conv1/conv1/bias:0"]
        file.create_virtual_dataset("model_weights/conv1/conv1/bias:0", layout)


def huge(path: Path) -> None:
    write(path, {"conv1": {"bias": np.zeros(3, "float32")}})
    with h5py.File(path, "a") as file:
        del file["model_weights/conv1/conv1/bias:0"]
        file.create_dataset("model_weights/conv1/conv1/bias:0", (2**40,), "f4", chunks=(2**10,))


def text(path: Path) -> None:
    write(path, {"conv1": {"bias": np.array([b"abc"])}})


def upwards(path: Path) -> None:
    write(path, {"conv1": {"bias": np.zeros(3, "float32")}})
    with h5py.File(path, "a") as file:
        file["model_weights/conv1"].attrs["weight_names"] = [b"../../model_weights/conv1/conv1/bias:0"]


def names_as_text(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("model_weights").attrs["layer_names"] = "conv1"


def names_as_nothing(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("model_weights").attrs["layer_names"] = h5py.Empty("f4")


def names_as_number(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("model_weights").attrs["layer_names"] = 3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (empty, "is not an HDF5 file"),
        (pickled, "is not an HDF5 file"),
        (truncated, "is damaged"),
        (no_layers, "it names no layers"),
        (soft_link, "does not follow it"),
        (external_link, "does not follow it"),
        (external_data, "in another file"),
        (virtual_data, "in another file"),
        (huge, "too large"),
        (text, "holds no weights under"),
        (upwards, "which it does not hold"),
        (names_as_text, "is damaged"),
        (names_as_nothing, "is damaged"),
        (names_as_number, "which it does not hold"),
    ],
)
def test_hostile_files_give_one_sentence(tmp_path: Path, make: Callable[[Path], Any], words: str) -> None:
    path = tmp_path / "bad.h5"
    make(path)
    result = CliRunner().invoke(main, ["import-keras", str(path), *OPTIONS])
    assert result.exit_code == 2
    assert words in result.output
    assert result.output.startswith("Error: ")
    assert len(result.output.strip().splitlines()) == 1


def test_a_missing_file_and_a_wrong_recipe() -> None:
    with pytest.raises(SavedError, match="there is no file"):
        read_checkpoint("nowhere.h5")
    with pytest.raises(KswapError, match="unknown recipe 'kmobilnet'; did you mean kmobilenet"):
        recipe("kmobilnet")


def test_without_h5py_it_says_what_to_install(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(SavedError, match="needs h5py: pip install 'kswap\\[keras\\]'"):
        read_checkpoint(checkpoint)
