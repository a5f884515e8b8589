"""Preprocessing: what models state, the papers' way, and what a model sees of a picture."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from pictures_fixture import Flat, noise
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

from kswap.data.preprocessing import Preprocessing
from kswap.errors import DataError, ModelError


def test_a_timm_model_states_its_own() -> None:
    model = timm.create_model("mobilenetv3_small_050")
    made = Preprocessing.of(model)
    theirs = create_transform(**resolve_model_data_config(model))
    picture = noise(0, (300, 200))
    assert torch.equal(made(picture), theirs(picture))
    assert made.origin == "the model's own"
    assert Preprocessing.of(model, (3, 96, 96))(picture).shape == (3, 96, 96)


def test_a_model_that_states_nothing_gets_the_papers_way() -> None:
    made = Preprocessing.of(Flat(), (3, 16, 16))
    pixels = np.asarray(noise(0), dtype=np.float32) / 255
    assert np.array_equal(made(noise(0)).numpy(), pixels.transpose(2, 0, 1))
    assert str(made) == (
        "16x16 RGB, resized by cubic, divided by 255 (the papers' way, since the model states nothing)"
    )


def test_nearest_repeats_pixels_as_the_papers_do() -> None:
    made = Preprocessing((3, 224, 224), resize="nearest")
    small = np.asarray(noise(0, (32, 32)), dtype=np.float32) / 255
    expected = small.repeat(7, axis=0).repeat(7, axis=1).transpose(2, 0, 1)
    assert np.array_equal(made(noise(0, (32, 32))).numpy(), expected)


def test_grey_models_and_grey_pictures() -> None:
    grey = Preprocessing((1, 16, 16), mean=(0.2, 0.4, 0.6), std=(0.5,))
    assert grey.mean == pytest.approx((0.4,))
    assert grey(noise(0)).shape == (1, 16, 16)
    assert Preprocessing((3, 16, 16))(noise(0).convert("L")).shape == (3, 16, 16)


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize(("width", "height"), [(300, 200), (200, 300), (64, 64)])
@pytest.mark.parametrize("size", [(3, 60, 60), (3, 40, 80)])
def test_the_seen_part_is_what_the_input_shows(mode: str, width: int, height: int, size: tuple[int, int, int]) -> None:
    """Red grows to the right and green downwards, so that a colour says where it comes from."""
    red, green = np.meshgrid(np.arange(width) / width, np.arange(height) / height)
    pixels = np.stack([red, green, np.ones_like(red)], axis=2)
    made = Preprocessing(size, resize="linear", crop=0.8, crop_mode=mode)
    tensor = made(Image.fromarray((pixels * 255).astype(np.uint8)))
    left, top, right, bottom = made.seen(width, height)
    for row, column in ((0.44, 0.42), (0.5, 0.5), (0.52, 0.58)):
        found = tensor[:, int(row * size[1]), int(column * size[2])]
        assert float(found[0]) == pytest.approx((left + column * (right - left)) / width, abs=0.03)
        assert float(found[1]) == pytest.approx((top + row * (bottom - top)) / height, abs=0.03)


def test_an_input_turns_back_into_its_picture() -> None:
    made = Preprocessing((3, 16, 16), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    back = np.asarray(made.picture_of(made(noise(3))), dtype=int)
    assert np.abs(back - np.asarray(noise(3), dtype=int)).max() <= 1


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"input_size": (3, 0, 8)}, "is not an input size"),
        ({"input_size": (4, 8, 8)}, "takes 4 channels"),
        ({"resize": "cubik"}, "unknown resize 'cubik'.*did you mean cubic"),
        ({"crop_mode": "middle"}, "unknown crop mode"),
        ({"crop": 1.5}, "crop must be above 0"),
        ({"std": (0.0,)}, "std must be above 0"),
        ({"mean": (0.1, 0.2)}, "mean has 2 numbers for 3 channels"),
        ({"mean": (float("nan"),)}, "finite"),
    ],
)
def test_values_without_sense_are_refused(arguments: dict[str, object], match: str) -> None:
    with pytest.raises(ModelError, match=match):
        Preprocessing(**{"input_size": (3, 8, 8), **arguments})  # type: ignore[arg-type]


def test_papers_and_imagenet() -> None:
    own = Preprocessing.of(timm.create_model("mobilenetv3_small_050"))
    assert own.papers() == Preprocessing((3, 224, 224))
    assert Preprocessing((3, 8, 8), crop=0.9).imagenet().mean == (0.485, 0.456, 0.406)
    assert "mean 0.485 0.456 0.406, std 0.229 0.224 0.225" in str(own)


@pytest.mark.parametrize("mode", ["center", "border"])
def test_narrow_pictures_do_not_fill_the_memory(mode: str) -> None:
    """Resized so that its shorter side is 224, a line of 400,000 pixels has 2e10; with a border, 1.6e11."""
    made = Preprocessing((3, 224, 224), crop_mode=mode)
    line = Image.new("L", (400_000, 1))
    with pytest.raises(DataError, match=r"a picture of 400,000 x 1 pixels is too narrow for 224x224: crop it"):
        made(line)
    with pytest.raises(DataError, match="too narrow"):
        made.seen(1, 400_000)
    assert Preprocessing((3, 224, 224), crop_mode="squash")(line).shape == (3, 224, 224)
    assert made(Image.new("L", (2_000, 10))).shape == (3, 224, 224)


def test_an_input_size_has_a_limit() -> None:
    with pytest.raises(ModelError, match="100,000 x 100,000 is too large an input"):
        Preprocessing((3, 100_000, 100_000))
