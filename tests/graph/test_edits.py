"""Strides and activations of the original, changed before it is planned."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

import kswap
from kswap.graph.observe import observe
from kswap.planner import Plan

# How much larger the last map is with the first one and the first two strided stages at stride 1.
FAMILIES = {
    "efficientnet_b0": (2, 4),
    "mobilenetv3_small_050": (2, 4),
    "resnet26d": (2, 4),
    "densenet121": (2, 4),
    "regnety_002": (2, 4),
    "ghostnet_100": (2, 4),
    "tf_efficientnet_b0": (2, 4),
    "convnext_atto": (4, 8),
}


def features(model: nn.Module, size: int) -> tuple[int, ...]:
    with torch.no_grad():
        return tuple(model.eval().forward_features(torch.zeros(1, 3, size, size)).shape[2:])


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_the_first_strides_go(count: int) -> None:
    conversion = kswap.convert("efficientnet_b0", ch=16, skip_strides=count, device="cpu", input_size=(64, 64))
    assert features(conversion.model, 64) == (64 * 2**count // 32,) * 2
    if count:
        assert "conv_stem" in " ".join(conversion.report.notes)


def test_the_papers_three_strides() -> None:
    """The stem's, and those of blocks 2 and 3."""
    plan = kswap.plan("efficientnet_b0", skip_strides=3, input_size=(32, 32))
    assert [edit.module for edit in plan.edits] == ["conv_stem", "blocks.1.0.conv_dw", "blocks.2.0.conv_dw"]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("count", [1, 2])
def test_any_network_has_larger_maps(name: str, count: int) -> None:
    """Shortcuts and pools beside a strided convolution follow it."""
    arguments = {"conv_mlp": True} if name == "convnext_atto" else {}
    conversion = kswap.convert(name, ch=8, skip_strides=count, device="cpu", input_size=(64, 64), **arguments)
    assert features(conversion.model, 64) == (2 * FAMILIES[name][count - 1],) * 2


@pytest.mark.parametrize("name", ["torchvision/resnet18", "inception_v3"])
def test_networks_without_a_common_form_run(name: str) -> None:
    before, after = (kswap.plan(name, ch=8, skip_strides=n) for n in (0, 2))
    assert after.before.macs > 8 * before.before.macs
    assert after.before.params == before.before.params


class Even(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 32, 4, stride=4)
        self.down = nn.Conv2d(32, 64, 2, stride=2)
        self.pool = nn.MaxPool2d(2)
        self.overlapping = nn.MaxPool2d(3, stride=2, padding=1)
        self.point = nn.Conv2d(64, 64, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.point(self.overlapping(self.pool(self.down(self.patch(x))))))


@pytest.mark.parametrize(("count", "size"), [(0, 2), (1, 8), (2, 16), (3, 32), (4, 64)])
def test_even_kernels_and_pools_keep_the_size(count: int, size: int) -> None:
    model = Even().eval()
    example = torch.randn(1, 3, 64, 64)
    conversion = kswap.convert(model, ch=8, skip_strides=count, example_input=example)
    assert conversion.model(example).shape == (1, 64, size, size)
    assert model(example).shape == (1, 64, 2, 2)
    assert model.patch.stride == (4, 4)


def test_an_even_kernel_computes_what_padding_by_hand_gives() -> None:
    model = Even().eval()
    x = torch.randn(1, 3, 16, 16)
    patch = kswap.convert(model, ch=8, skip_strides=1, example_input=x).model.patch
    padded = torch.nn.functional.pad(x, (1, 2, 1, 2))
    expected = torch.nn.functional.conv2d(padded, model.patch.weight, model.patch.bias)
    assert torch.equal(patch(x), expected)


@pytest.mark.parametrize("mode", ["zeros", "circular", "replicate"])
def test_an_even_kernel_is_padded_in_its_own_mode(mode: str) -> None:
    patch = nn.Conv2d(3, 8, 4, stride=4, dilation=(1, 2), padding_mode=mode)
    model = nn.Sequential(patch, nn.Conv2d(8, 64, 1), nn.ReLU(), nn.Conv2d(64, 5, 3, padding=1)).eval()
    x = torch.randn(1, 3, 16, 16)
    new = kswap.convert(model, ch=4, skip_strides=1, example_input=x).model[0]
    padded = torch.nn.functional.pad(x, (3, 3, 1, 2), mode="constant" if mode == "zeros" else mode)
    expected = torch.nn.functional.conv2d(padded, patch.weight, patch.bias, dilation=(1, 2))
    assert torch.equal(new(x), expected)


def test_edits_are_saved_and_replayed(tmp_path: Path) -> None:
    arguments = {"ch": 8, "skip_strides": 2, "rules": {"swap_activations": {"Hardswish": "relu"}}, "num_classes": 10}
    conversion = kswap.convert("mobilenetv3_small_050", device="cpu", input_size=(64, 64), **arguments)
    assert Plan.from_json(conversion.plan.to_json()) == conversion.plan
    loaded = kswap.load(conversion.save(tmp_path / "model"))
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded.model(x), conversion.model.eval()(x))
    assert not any(isinstance(m, nn.Hardswish) for m in loaded.model.modules())


def test_too_many_strides() -> None:
    with pytest.raises(kswap.KswapError, match="has 5 strided stages"):
        kswap.plan("efficientnet_b0", skip_strides=6)
    with pytest.raises(kswap.KswapError, match="at least 0"):
        kswap.plan("efficientnet_b0", skip_strides=-1)


def test_activations_of_the_whole_network() -> None:
    rules = {"swap_activations": {"SiLU": "relu"}}
    conversion = kswap.convert("efficientnet_b0", ch=16, rules=rules, device="cpu", num_classes=10)
    assert not any(isinstance(m, nn.SiLU) for m in conversion.model.modules())
    assert any("relu now" in note for note in conversion.report.notes)
    observed = observe(conversion.model, (torch.zeros(1, 3, 224, 224),)).total.operations
    assert (observed + 50) // 2 == conversion.report.computations.after
    plain = kswap.convert("efficientnet_b0", ch=16, device="cpu", num_classes=10).report.computations
    assert conversion.report.computations.after < plain.after


def test_hard_swish_is_that_of_the_authors() -> None:
    """x * relu6(x + 3) / 6."""
    rules = {"swap_activations": {"SiLU": "hard_swish"}}
    model = timm.create_model("efficientnet_b0")
    act = kswap.convert(model, ch=16, rules=rules).model.bn1.act
    x = torch.linspace(-5, 5, 101)
    torch.testing.assert_close(act(x), x * torch.nn.functional.relu6(x + 3) / 6)


def test_a_swap_of_nothing_is_refused() -> None:
    with pytest.raises(kswap.KswapError, match="no activation of the class Swish"):
        kswap.plan("efficientnet_b0", rules={"swap_activations": {"Swish": "relu"}})
    with pytest.raises(kswap.KswapError, match="must be one of"):
        kswap.plan("efficientnet_b0", rules={"swap_activations": {"SiLU": "rleu"}})
    with pytest.raises(kswap.KswapError, match="must be a table"):
        kswap.plan("efficientnet_b0", rules={"swap_activations": "relu"})
