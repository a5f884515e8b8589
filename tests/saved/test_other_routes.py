"""Other ways to save a converted model warn with the calls that work, and plain states do not."""

from __future__ import annotations

import copy
import pickle
import warnings
from pathlib import Path

import pytest
import torch
import transformers as hf
from timm.models import save_for_hf

import kswap

WORKS = r"conversion\.save\(directory\), and load with kswap\.load\(directory\); .*conversion\.push_to_hub"


@pytest.fixture(scope="module")
def conversion() -> kswap.Conversion:
    config = hf.ResNetConfig(embedding_size=32, hidden_sizes=[64, 128], depths=[1, 1], num_labels=5)
    return kswap.convert(hf.ResNetForImageClassification(config), ch=8, input_size=(32, 32))


def test_save_pretrained_warns(conversion: kswap.Conversion, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=rf"^save_pretrained cannot .* {WORKS}"):
        conversion.model.save_pretrained(tmp_path / "hf")  # type: ignore[operator]
    with pytest.warns(UserWarning, match="save_pretrained"):
        copy.deepcopy(conversion.model).save_pretrained(tmp_path / "copy")  # type: ignore[operator]
    with pytest.warns(UserWarning, match="save_pretrained"):
        pickle.loads(pickle.dumps(conversion.model)).save_pretrained(tmp_path / "pickle")


def test_the_calls_that_are_named_work(conversion: kswap.Conversion, tmp_path: Path) -> None:
    original = hf.ResNetForImageClassification(conversion.model.config)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        state = conversion.model.state_dict()
        again = kswap.load(conversion.save(tmp_path / "saved"), model=original).model
    x = torch.zeros(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(x).logits, conversion.model.eval()(x).logits)
    assert state.keys() == again.state_dict().keys()
    with pytest.warns(UserWarning, match="save_pretrained"):
        again.save_pretrained(tmp_path / "hf")  # type: ignore[operator]


@pytest.mark.parametrize("safe", [True, False])
def test_save_for_hf_of_timm_warns(tmp_path: Path, safe: bool) -> None:
    model = kswap.create_model("test_efficientnet", ch=4, num_classes=5)
    with pytest.warns(UserWarning, match=rf"^save_for_hf cannot .* {WORKS}"):
        save_for_hf(model, str(tmp_path / "hf"), safe_serialization=safe)


def test_a_model_that_was_not_converted_does_not_warn(tmp_path: Path) -> None:
    model = hf.ResNetForImageClassification(hf.ResNetConfig(embedding_size=32, hidden_sizes=[64], depths=[1]))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.save_pretrained(tmp_path / "hf")
