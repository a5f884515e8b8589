"""Convolution subclasses are treated by what they compute: replaced by their own kind, or kept with the reason."""

from __future__ import annotations

import math
from typing import Any

import pytest
import timm
import torch
from timm.layers import (
    Conv2dSame,
    ScaledStdConv2d,
    ScaledStdConv2dSame,
    StdConv2d,
    StdConv2dSame,
    create_conv2d,
    get_same_padding,
)
from torch import Tensor, nn

import kswap
from kswap.graph.observe import observe
from kswap.nn import GroupedBlock
from kswap.planner import Plan, plan_layer
from kswap.planner.counting import count_plan

STANDARDISED = [StdConv2d, StdConv2dSame, ScaledStdConv2d, ScaledStdConv2dSame]


def converted(model: Any, **arguments: Any) -> kswap.Conversion:
    return kswap.convert(model, **({"device": "cpu", "seed": 0, "ch": 8} | arguments))


def one_site(conv: nn.Module, **arguments: Any) -> kswap.Conversion:
    model = nn.Sequential(nn.Conv2d(3, 64, 3), conv, nn.ReLU(), nn.Conv2d(48, 7, 3), nn.Flatten(2))
    return converted(model, example_input=torch.zeros(1, 3, 9, 9), **arguments)


def standardised(weight: Tensor, eps: float) -> Tensor:
    """Each filter with mean 0 and variance 1 over its own inputs."""
    rows = weight.flatten(1)
    spread = (rows.var(dim=1, unbiased=False, keepdim=True) + eps).sqrt()
    return (rows - rows.mean(dim=1, keepdim=True)) / spread


@pytest.mark.parametrize("kind", STANDARDISED)
def test_weight_standardised_ones_are_replaced_by_their_own_kind(kind: type[nn.Conv2d]) -> None:
    """K and L standardise each filter over the inputs of its group; gamma is scaled to that fan-in."""
    gain = {"gamma": 1.7, "gain_init": 0.5} if kind in STANDARDISED[2:] else {}
    conv = kind(40, 27, 1, eps=1e-3, bias=True, **gain)
    block = GroupedBlock(plan_layer(40, 27, 8), replaces=conv).eval()
    block.reset_parameters()
    assert block.k.second is not None
    x = torch.randn(2, 40, 5, 5)
    parts = []
    for path, groups in ((block.k.first, 5), (block.k.second, 2)):
        assert type(path) is kind
        assert path.eps == 1e-3
        weight = standardised(path.weight, path.eps)
        if gain:
            assert bool((path.gain == 0.5).all())
            weight = weight * 0.5 * 1.7 / math.sqrt(8)
        inputs = x[:, : groups * 8].unflatten(1, (groups, 8))
        parts.append(torch.einsum("ngihw,gfi->ngfhw", inputs, weight.unflatten(0, (groups, -1))).flatten(1, 2))
    torch.testing.assert_close(block.k(x), torch.cat(parts, dim=1), rtol=1e-4, atol=1e-5)
    assert all(p.requires_grad for p in block.parameters())


@pytest.mark.parametrize("name", ["resnetv2_50x1_bit", "nf_regnet_b0", "nf_ecaresnet26"])
def test_closed_form_counts_are_those_of_the_built_model(name: str) -> None:
    """Parameters (gains too), MACs and operations; the graph is taken from a recorded run inside leaf modules."""
    size = (64, 64)
    conversion = converted(name, ch=16, num_classes=10, input_size=size)
    promised = count_plan(conversion.plan)
    assert promised.params == sum(p.numel() for p in conversion.model.parameters())
    inputs = (torch.zeros(1, 3, *size),)
    original = timm.create_model(name, num_classes=10)
    before, after = observe(original, inputs).total, observe(conversion.model, inputs).total
    assert after.macs == promised.macs
    assert after.operations - before.operations == promised.operations - conversion.plan.before.operations
    types = {site.site.type for site in conversion.plan.replaced}
    assert types & {kind.__name__ for kind in STANDARDISED}
    assert conversion.model.train()(torch.randn(2, 3, *size)).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "count"),
    [("dm_nfnet_f0", 53), ("xcit_nano_12_p8_224", 1), ("edgenext_xx_small", 1), ("vgg11", 1), ("lowformer_b0", 37)],
)
def test_convolutions_hidden_in_leaf_modules_are_found(name: str, count: int) -> None:
    """timm registers their parents as not traceable: torch.fx does not see inside, the recorded run does."""
    plan = kswap.plan(name)
    assert len(plan.sites) == len(plan.replaced) == count


def test_activations_are_absorbed_inside_leaf_modules() -> None:
    plan = kswap.plan("nf_resnet26")
    assert [site.site.activation.type for site in plan.sites if site.site.activation] == ["ReLU"] * 8


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_padding_adds_nothing_to_a_kernel_of_one(stride: int) -> None:
    assert all(get_same_padding(size, 1, stride, 1) == 0 for size in range(1, 50))
    conv = Conv2dSame(64, 48, 1, stride=stride)
    conversion = one_site(conv)
    assert conversion.plan.replaced[0].site.type == "Conv2dSame"
    block = conversion.model[1]
    assert type(block.k.first) is nn.Conv2d
    x = torch.randn(1, 64, 9, 8)
    assert block(x).shape == conv(x).shape


def test_a_plain_subclass_is_a_convolution() -> None:
    class Renamed(nn.Conv2d):
        """Inherits its forward pass."""

    conversion = one_site(Renamed(64, 48, 1))
    assert [site.site.type for site in conversion.plan.replaced] == ["Renamed"]
    assert type(conversion.model[1].k.first) is nn.Conv2d


def test_other_forward_passes_are_kept_with_the_reason() -> None:
    class Doubled(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) * 2

    class Sub(StdConv2d):
        """Of a kind that kswap knows, but it could do anything."""

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).neg()

    class Alike(nn.Module):
        def __init__(self, conv: nn.Module) -> None:
            super().__init__()
            self.stem, self.odd, self.plain = nn.Conv2d(3, 64, 3), conv, nn.Conv2d(48, 48, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.plain(self.odd(self.stem(x))).relu().exp()

    patched = nn.Conv2d(64, 48, 1)
    patched.forward = lambda x: x[:, :48]  # type: ignore[method-assign]
    odd = {
        "Doubled computes its output in its own way": Doubled(64, 48, 1),
        "Sub computes its output in its own way": Sub(64, 48, 1),
        "Conv2d computes its output in its own way": patched,
        "padded by (1, 1)": StdConv2d(64, 48, 1, stride=3),
    }
    for reason, conv in odd.items():
        plan = kswap.plan(Alike(conv), ch=8, example_input=torch.zeros(1, 3, 9, 9))
        assert reason in plan["odd"].reason
        assert plan["plain"].replaced


def test_one_weight_cannot_be_standardised() -> None:
    """The spread of a group of one input is nothing: such a site is kept, and a plan that says otherwise refused."""
    model = nn.Sequential(StdConv2d(64, 48, 1), nn.ReLU(), nn.Conv2d(48, 48, 1), nn.ReLU(), nn.Conv2d(48, 5, 3))
    plan = kswap.plan(model, ch=1, example_input=torch.zeros(1, 64, 9, 9))
    assert plan["0"].reason == "groups of 1 channel, StdConv2d needs at least 2"
    assert plan["2"].replaced
    data = plan.to_json()
    data["sites"][0]["action"] = "replace"
    with pytest.raises(kswap.KswapError, match="StdConv2d needs at least 2"):
        Plan.from_json(data)


def test_a_plan_cannot_replace_what_the_model_does_not_allow() -> None:
    """A plan from a model with plain convolutions does not fit one whose convolutions do something else."""

    class Doubled(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) * 2

    def model(conv: nn.Module) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 64, 3), conv, nn.ReLU(), nn.Conv2d(64, 5, 3))

    x = torch.zeros(1, 3, 9, 9)
    plan = kswap.plan(model(nn.Conv2d(64, 64, 1)), ch=8, example_input=x)
    with pytest.raises(kswap.KswapError, match="in its own way"):
        converted(model(Doubled(64, 64, 1)), plan=plan, example_input=x)


def test_standardised_models_survive_a_save(tmp_path: Any) -> None:
    conversion = converted("nf_resnet26", num_classes=5, input_size=(64, 64))
    with torch.no_grad():
        for name, parameter in conversion.model.named_parameters():
            if name.endswith("gain"):
                parameter.uniform_(0.5, 1.5)
    conversion.save(tmp_path / "saved")
    loaded = kswap.load(tmp_path / "saved", device="cpu")
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded.model.eval()(x), conversion.model.eval()(x))


def test_a_block_answers_for_the_layer_it_stands_for() -> None:
    """Models ask a layer for its device, its dtype, or whether it has a bias."""
    conv = create_conv2d(64, 48, 1, stride=2, padding="same", bias=True)
    block = GroupedBlock(plan_layer(64, 48, 8), replaces=conv.double())
    assert (block.weight.dtype, block.weight.device) == (torch.double, torch.device("cpu"))
    assert block.bias is not None
    assert (block.kernel_size, block.stride, block.padding, block.groups) == ((1, 1), (2, 2), (0, 0), 1)


def test_reading_a_shape_does_not_break_a_chain() -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.conv, self.act = nn.Conv2d(3, 64, 3), nn.Conv2d(64, 64, 1), nn.SiLU()

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(self.stem(x))
            batch, channels, height, width = x.shape
            return self.act(x).reshape(batch, channels, height * width).softmax(1) * x.size(1)

    plan = kswap.plan(Reads(), ch=8, example_input=torch.zeros(1, 3, 9, 9))
    assert plan["conv"].site.activation is not None
    assert plan["conv"].reason == "K + L"


def test_heads_that_are_summed_are_classifiers() -> None:
    class Summed(nn.Module):
        """Two maps of classes, and a residual sum that is no head."""

        def __init__(self) -> None:
            super().__init__()
            self.stem, self.inner = nn.Conv2d(3, 64, 3), nn.Conv2d(64, 64, 1)
            self.low, self.high = nn.Conv2d(64, 5, 1), nn.Conv2d(64, 5, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            x = self.stem(x)
            x = x.sin() + self.inner(x)
            return self.low(x) + self.high(x), x

    plan = kswap.plan(Summed(), ch=8, example_input=torch.zeros(1, 3, 9, 9))
    assert [site.name for site in plan.replaced] == ["inner"]
    assert all("makes the model's output" in plan[name].reason for name in ("low", "high"))


def test_a_relu_that_remains_is_not_in_a_block_of_k_alone() -> None:
    """In place, it would overwrite what the gradient of a ReLU inside the block needs."""

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.wide, self.narrow = nn.Conv2d(3, 64, 3), nn.Conv2d(64, 96, 1), nn.Conv2d(96, 48, 1)
            self.relu, self.last = nn.ReLU(inplace=True), nn.Conv2d(48, 5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.relu(self.narrow(self.relu(self.wide(self.relu(self.stem(x)))))))

    conversion = converted(Shared(), example_input=torch.zeros(1, 3, 9, 9))
    wide, narrow = conversion.model.wide, conversion.model.narrow
    assert (wide.l, wide.k_act) == (None, None)
    assert isinstance(narrow.k_act, nn.ReLU)
    conversion.model.train()(torch.randn(2, 3, 9, 9)).sum().backward()
    assert conversion.model.stem.weight.grad is not None


def test_what_carries_hooks_is_not_absorbed() -> None:
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Conv2d(64, 48, 1), nn.BatchNorm2d(48), nn.SiLU(), nn.Conv2d(48, 5, 3))
    seen: list[Tensor] = []
    model[3].register_forward_hook(lambda _module, _args, out: seen.append(out))
    conversion = converted(model, example_input=torch.zeros(1, 3, 9, 9))
    assert conversion.plan["1"].site.norm is not None
    assert conversion.plan["1"].site.activation is None
    assert "3 carries hooks" in conversion.plan["1"].reason
    seen.clear()
    conversion.model(torch.zeros(1, 3, 9, 9))
    assert len(seen) == 1


def test_a_model_on_the_meta_device_converts() -> None:
    with torch.device("meta"):
        model = timm.create_model("nf_resnet26", num_classes=5)
    conversion = kswap.convert(model, ch=8, input_size=(64, 64))
    assert next(conversion.model.parameters()).is_meta
    assert conversion.model(torch.zeros(1, 3, 64, 64, device="meta")).shape == (1, 5)
    with torch.device("meta"):
        normed = timm.create_model("mobilenetv3_small_050")
    assert kswap.convert(normed, ch=8).plan.replaced


def test_predictions_of_a_detector_stay() -> None:
    from torchvision.models import detection

    model = detection.fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None, num_classes=5)
    plan = kswap.plan(model, example_input=([torch.rand(3, 64, 64)],))
    assert plan["backbone.fpn.inner_blocks.0.0"].replaced
    for name in ("rpn.head.cls_logits", "rpn.head.bbox_pred"):
        assert "detector's predictions" in plan[name].reason
        assert plan[name].site.role == "classifier"
