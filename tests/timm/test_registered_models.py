"""Converted models in timm's registry: names, arguments, weights, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.layers import SplitBatchNorm2d, convert_splitbn_model, convert_sync_batchnorm
from timm.utils import ModelEmaV3
from torch import nn

import kswap
import kswap.timm
from kswap.model_table import read_table


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_every_model_with_pointwise_convolutions_is_listed() -> None:
    known = {name for name, row in read_table().items() if row.pointwise_convolutions}
    expected = {f"kswap_{name}" for name in known if timm.is_model(name)}
    assert len(expected) > 800
    assert set(timm.list_models("*kswap*")) == expected
    assert set(timm.list_models(module="kswap_models")) == expected


def test_tags_are_listed_and_none_claims_to_be_pretrained() -> None:
    tagged = timm.list_models("kswap_efficientnet_b0", include_tags=True)
    assert set(tagged) == {"kswap_efficientnet_b0"} | {
        f"kswap_efficientnet_b0.ch{ch}{scheme}" for ch in (4, 8, 16, 32, 64, 128) for scheme in ("", "_v1")
    }
    assert timm.list_pretrained("kswap*") == []


def test_a_listed_configuration_names_the_inputs_and_no_weights() -> None:
    config = timm.get_pretrained_cfg("kswap_efficientnet_b3.ch16")
    assert config is not None
    assert config.input_size == timm.get_pretrained_cfg("efficientnet_b3").input_size
    assert not config.has_weights


@pytest.mark.parametrize(
    ("name", "kwargs", "converted"),
    [
        ("test_resnet.ch8", {}, {"ch": 8}),
        ("test_resnet.ch8_v1", {"num_classes": 5}, {"ch": 8, "scheme": "v1", "num_classes": 5}),
        ("test_resnet.ch12", {}, {"ch": 12}),
        ("test_resnet", {"ch": 8, "kind": "low-rank"}, {"ch": 8, "kind": "low-rank"}),
        ("test_efficientnet", {}, {"ch": 16}),
        ("test_efficientnet.ch8", {"in_chans": 1, "drop_rate": 0.2}, {"ch": 8, "in_chans": 1, "drop_rate": 0.2}),
        ("test_efficientnet.ch8", {"rules": "no-second-layer"}, {"ch": 8, "rules": "no-second-layer"}),
    ],
)
def test_a_name_is_kswap_create_model(name: str, kwargs: dict[str, Any], converted: dict[str, Any]) -> None:
    made = timm.create_model(f"kswap_{name}", seed=0, **kwargs)
    expected = kswap.create_model(name.partition(".")[0], seed=0, **converted)
    assert type(made) is type(expected)
    assert made.drop_rate == expected.drop_rate
    state = expected.state_dict()
    assert made.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in made.state_dict().items())


def test_features_only() -> None:
    model = timm.create_model("kswap_test_resnet.ch8", features_only=True, out_indices=(1, 2))
    features = model(torch.zeros(1, 3, 32, 32))
    assert [f.shape[1] for f in features] == model.feature_info.channels()


def test_the_seed_of_a_script_decides_the_weights() -> None:
    models = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        models.append(timm.create_model("kswap_test_resnet.ch8").state_dict())
    assert all(torch.equal(models[0][key], models[1][key]) for key in models[0])
    assert not all(torch.equal(models[0][key], models[2][key]) for key in models[0])


def test_arguments_as_timms_own_scripts_resolve_them() -> None:
    """``train.py`` of timm 1.0.31 resolves the name to a configuration, and passes that with what was set."""
    config = timm.get_pretrained_cfg("kswap_test_resnet.ch8")
    assert config is not None
    resolved = config.to_dict() | {"mean": (0.5, 0.5, 0.5)}
    model = timm.create_model("kswap_test_resnet", pretrained_cfg=resolved, num_classes=5)
    assert parameters(model) == parameters(kswap.create_model("test_resnet", ch=8, num_classes=5))
    assert model.pretrained_cfg["architecture"] == "test_resnet"
    assert model.pretrained_cfg["mean"] == (0.5, 0.5, 0.5)
    assert model.pretrained_cfg["std"] == timm.create_model("test_resnet").pretrained_cfg["std"]


def test_pretrained_weights_stay_in_what_is_not_replaced(tmp_path: Path) -> None:
    original = timm.create_model("test_resnet")
    torch.save(original.state_dict(), tmp_path / "weights.pth")
    with pytest.warns(UserWarning, match=r"layers that stay have the weights of test_resnet.r160_in1k, and the new bl"):
        model = timm.create_model(
            "kswap_test_resnet.ch8", pretrained=True, pretrained_cfg_overlay={"file": str(tmp_path / "weights.pth")}
        )
    assert torch.equal(model.conv1[0].weight, original.conv1[0].weight)
    assert any("layer" in key and ".k." in key for key in model.state_dict())


def test_a_checkpoint_of_the_converted_model_loads(tmp_path: Path) -> None:
    trained = timm.create_model("kswap_test_resnet.ch8", seed=3)
    torch.save({"state_dict": trained.state_dict()}, tmp_path / "last.pth.tar")
    again = timm.create_model("kswap_test_resnet.ch8", checkpoint_path=str(tmp_path / "last.pth.tar"))
    picture = torch.rand(1, 3, 64, 64)
    assert torch.equal(trained.eval()(picture), again.eval()(picture))


@pytest.mark.parametrize(
    ("name", "kwargs", "says"),
    [
        ("kswap_test_resnet.ch8", {"ch": 16}, r"kswap_test_resnet.ch8 and ch=16 contradict each other: leave one out"),
        ("kswap_test_resnet.ch8_v1", {"scheme": "v2"}, "scheme=v2 contradict each other"),
        ("kswap_test_resnet.in12k", {}, "test_resnet has no pretrained tag 'in12k'"),
        ("kswap_test_resnet.ch128", {}, "128"),
    ],
)
def test_refusals(name: str, kwargs: dict[str, Any], says: str) -> None:
    with pytest.raises(kswap.KswapError, match=says):
        timm.create_model(name, **kwargs)


def test_kswap_itself_wants_the_original() -> None:
    with pytest.raises(kswap.KswapError, match="converted already: name the original, test_resnet, and say how"):
        kswap.convert("kswap_test_resnet.ch8")


@pytest.mark.parametrize("name", ["kswap_test_efficientnet.ch8", "kswap_test_byobnet.ch8"])
@pytest.mark.parametrize("option", ["--sync-bn", "--split-bn", "--grad-checkpointing", "--torchscript", "--model-ema"])
def test_what_timms_own_scripts_do_with_a_model(name: str, option: str) -> None:
    """``train.py`` exchanges norms, scripts and copies models: the norms inside of blocks go along."""
    model = timm.create_model(name, num_classes=3, scriptable=option == "--torchscript", checkpoint_path="")
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    if option == "--sync-bn":
        model = convert_sync_batchnorm(model)
        assert sum(isinstance(part, nn.SyncBatchNorm) for part in model.modules()) == len(norms)
        return
    if option == "--split-bn":
        model = convert_splitbn_model(model, 2)
        assert sum(isinstance(part, SplitBatchNorm2d) for part in model.modules()) == len(norms)
    elif option == "--grad-checkpointing":
        model.set_grad_checkpointing(enable=True)
    elif option == "--torchscript":
        model = torch.jit.script(model)
    else:
        average = ModelEmaV3(model, decay=0.5)
        average.update(model)
        assert average.module.state_dict().keys() == model.state_dict().keys()
    model(torch.rand(4, 3, 32, 32)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
