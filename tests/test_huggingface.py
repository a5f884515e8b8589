"""Hugging Face vision models, built from small configurations: their outputs are dataclasses."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
import torch
import transformers as hf
from bypass import bypass_, equal, scatter_
from torch import nn
from torch.utils._pytree import tree_flatten

import kswap

MODELS: dict[str, Callable[[], nn.Module]] = {
    "resnet": lambda: hf.ResNetForImageClassification(
        hf.ResNetConfig(embedding_size=32, hidden_sizes=[64, 128], depths=[1, 1], num_labels=5)
    ),
    "resnet-backbone": lambda: hf.ResNetBackbone(
        hf.ResNetConfig(embedding_size=32, hidden_sizes=[64, 128], depths=[1, 1], out_features=["stage1", "stage2"])
    ),
    "mobilenet-v2": lambda: hf.MobileNetV2ForImageClassification(
        hf.MobileNetV2Config(depth_multiplier=0.5, num_labels=5)
    ),
    "regnet": lambda: hf.RegNetForImageClassification(
        hf.RegNetConfig(embedding_size=16, hidden_sizes=[64, 128], depths=[1, 1], groups_width=16, num_labels=5)
    ),
    "segformer": lambda: hf.SegformerForSemanticSegmentation(
        hf.SegformerConfig(hidden_sizes=[16, 32, 64, 64], depths=[1, 1, 1, 1], decoder_hidden_size=64, num_labels=5)
    ),
    "mobilevit": lambda: hf.MobileViTForSemanticSegmentation(
        hf.MobileViTConfig(hidden_sizes=[48, 64, 80], neck_hidden_sizes=[16, 32, 48, 64, 80, 96, 256], num_labels=5)
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_outputs_keep_their_dataclass_and_shapes(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name]()
    conversion = kswap.convert(model, ch=8, input_size=(64, 64), seed=0)
    assert type(conversion.model) is type(model)
    x = torch.randn(2, 3, 64, 64)
    wanted, found = model.train()(x), conversion.model.train()(x)
    assert type(found) is type(wanted)
    assert list(found.keys()) == list(wanted.keys())
    for key, value in wanted.items():
        mine, other = (v if isinstance(v, tuple) else (v,) for v in (found[key], value))
        assert [t.shape for t in mine] == [t.shape for t in other]
    sum(tensor.sum() for tensor in tree_flatten(tuple(found.values()))[0]).backward()  # type: ignore[union-attr]
    assert all(
        p.grad is not None
        for site in conversion.plan.replaced
        for p in conversion.model.get_submodule(site.name).parameters()
    )


@pytest.mark.parametrize("name", MODELS)
def test_nothing_outside_the_blocks_changes(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    scatter_(model)
    conversion = kswap.convert(model, ch=8, input_size=(64, 64), seed=0)
    assert bypass_(conversion, model) > 0
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        wanted = model(x)
        assert equal(tuple(conversion.model.eval()(x).values()), tuple(wanted.values()))
        assert wanted[0][0].isfinite().all()


@pytest.mark.parametrize("name", ["segformer", "resnet"])
def test_a_fresh_conversion_can_be_pickled(name: str) -> None:
    """transformers installs hooks at the first call: the check run is one of a copy."""
    conversion = kswap.convert(MODELS[name](), ch=8, input_size=(64, 64), seed=0)
    again = pickle.loads(pickle.dumps(conversion.model))
    assert [name for name, _ in again.named_parameters()] == [name for name, _ in conversion.model.named_parameters()]


def test_a_dict_means_keyword_arguments() -> None:
    conversion = kswap.convert(MODELS["resnet"](), ch=8, example_input={"pixel_values": torch.zeros(1, 3, 64, 64)})
    assert conversion.plan == kswap.plan(MODELS["resnet"](), ch=8, input_size=(64, 64))


def test_options_of_the_forward_pass_still_work() -> None:
    conversion = kswap.convert(MODELS["resnet"](), ch=8, input_size=(64, 64), seed=0)
    x = torch.randn(2, 3, 64, 64)
    out = conversion.model(x, labels=torch.tensor([0, 1]), output_hidden_states=True)
    assert out.loss.ndim == 0
    assert len(out.hidden_states) == 3
    assert isinstance(conversion.model(x, return_dict=False), tuple)


def test_a_model_is_saved_and_loaded_again(tmp_path: object) -> None:
    model = MODELS["resnet"]()
    conversion = kswap.convert(model, ch=8, input_size=(64, 64), seed=0)
    conversion.save(f"{tmp_path}/saved")
    again = kswap.load(f"{tmp_path}/saved", model=model).model
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(again(x).logits, conversion.model.eval()(x).logits)


def test_a_model_without_convolutions_of_one_pixel_is_refused() -> None:
    """ConvNeXt V2 has Linear layers in their place."""
    config = hf.ConvNextV2Config(hidden_sizes=[16, 32, 64, 64], depths=[1, 1, 1, 1], num_labels=5)
    with pytest.raises(kswap.KswapError, match="has no pointwise"):
        kswap.convert(hf.ConvNextV2ForImageClassification(config), input_size=(64, 64))
