"""Hidden channels between expansions and projections: found, taken out, counted, saved and exported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

import kswap
from kswap.errors import PlanError
from kswap.graph.call import Call
from kswap.graph.hidden_channels import FoundChannels, find_hidden_channels
from kswap.graph.narrow import narrow_, narrow_all_
from kswap.graph.observe import observe
from kswap.graph.tracer import trace
from kswap.planner import Plan
from kswap.planner.counting import count_plan
from kswap.planner.narrowing import HiddenChannels, Narrowing
from kswap.runtimes.export import export_model

SIZE = (64, 64)
# Models with every kind of layer between an expansion and its projection, and how many such places they have.
MODELS = {
    "test_efficientnet": 4,
    "test_resnet": 1,
    "test_vit": 6,
    "test_convnext": 9,
    "mobilenetv3_small_050": 11,
    "mobilenetv4_conv_small_035": 15,
    "tf_efficientnet_lite0": 15,
}


def random_(model: nn.Module) -> nn.Module:
    """Weights and statistics of norms that no two channels have in common."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor in (module.weight, module.running_var):
                tensor.data.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            for tensor in (module.bias, module.running_mean):
                tensor.data.copy_(torch.randn(tensor.shape, generator=generator) / 10)
    return model.eval()


def found_in(model: nn.Module, size: tuple[int, int] = SIZE) -> FoundChannels:
    call = Call((torch.zeros(1, 3, *size),))
    return find_hidden_channels(model, trace(model, call).graph, observe(model, call))


def without_readers_(model: nn.Module, hidden: HiddenChannels, gone: Tensor) -> None:
    """Nothing reads the channels ``gone`` any more: their weights are zero."""
    for name in hidden.read_by:
        weight = model.get_submodule(name).weight
        assert isinstance(weight, Tensor)
        weight.data[:, gone] = 0


@pytest.mark.parametrize("name", MODELS)
def test_channels_that_nothing_reads_leave_without_a_trace(name: str) -> None:
    """Whatever lies between: depthwise convolutions, norms, activations, gates, drop-out."""
    arguments = {"img_size": 64} if "vit" in name else {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = random_(timm.create_model(name, num_classes=7, **arguments))
        x = torch.randn(2, 3, *SIZE).double()
    found = found_in(model)
    model.double()
    narrowings = found.narrowings(0.5)
    assert len(narrowings) == MODELS[name], found.refused
    keep = {}
    for narrowing in narrowings:
        width = narrowing.hidden.width
        order = torch.randperm(width, generator=torch.Generator().manual_seed(width))
        keep[narrowing.hidden.expansion] = order[: narrowing.channels].sort().values
        without_readers_(model, narrowing.hidden, order[narrowing.channels :])
    with torch.no_grad():
        before = model(x)
        params = sum(p.numel() for p in model.parameters())
        narrow_all_(model, narrowings, keep)
        torch.testing.assert_close(model(x), before, rtol=1e-9, atol=1e-9)
    assert sum(p.numel() for p in model.parameters()) < params


def test_a_gate_and_a_depthwise_convolution_follow() -> None:
    found = found_in(timm.create_model("test_efficientnet"))
    (hidden,) = [hidden for hidden in found.offered if hidden.expansion == "blocks.3.0.conv_pw"]
    assert hidden == HiddenChannels(
        "blocks.3.0.conv_pw",
        "blocks.3.0.conv_pwl",
        128,
        along=("blocks.3.0.bn1", "blocks.3.0.conv_dw", "blocks.3.0.bn2"),
        squeezes=("blocks.3.0.se.conv_reduce",),
        excites=("blocks.3.0.se.conv_expand",),
    )


class Between(nn.Module):
    """An expansion, something, and a projection."""

    def __init__(self, between: nn.Module | None = None) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.expand = nn.Conv2d(8, 64, 1)
        self.between = between or nn.Identity()
        self.project = nn.Conv2d(64, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.between(self.expand(self.stem(x))))
        return y


class TwoReaders(Between):
    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(self.stem(x))
        return torch.cat([self.project(y), self.project(y)], 1)


class Shortcut(Between):
    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(self.stem(x))
        return self.project(y + torch.relu(y))


class Shown(Between):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        y = self.expand(self.stem(x))
        return self.project(y), y


class MeanOverChannels(Between):
    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(self.stem(x))
        return self.project(y * y.mean((1, 2, 3), keepdim=True))


class Tied(Between):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(64, 64, 3, groups=64))
        self.twin = nn.Conv2d(8, 64, 1)
        self.twin.weight = self.expand.weight


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Between(nn.GroupNorm(4, 64)), "its channels are read by between"),
        (Between(nn.Conv2d(64, 64, 3, groups=8)), "its channels are read by between"),
        (Between(nn.PReLU(64)), "its channels are read by between"),
        (Between(nn.LocalResponseNorm(3)), "its channels are read by between"),
        (Between(nn.Conv2d(64, 64, 3)), "its channels are read by between, which is not pointwise"),
        (TwoReaders(), "project is called several times"),
        (Shortcut(), "its channels are read by add"),
        (Shown(), "its channels are read by the output of the network"),
        (MeanOverChannels(), "mean"),
        (Tied(), "the parameters of expand are shared"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_understood_stays(model: nn.Module, reason: str) -> None:
    found = found_in(model)
    assert not any(hidden.expansion == "expand" for hidden in found.offered)
    assert reason in found.refused["expand"]


def test_a_model_that_cannot_be_traced_offers_nothing() -> None:
    model = Between()
    call = Call((torch.zeros(1, 3, *SIZE),))
    found = find_hidden_channels(model, None, observe(model, call))
    with pytest.raises(PlanError, match="no hidden channels that can become fewer"):
        found.narrowings(0.5)


@pytest.mark.parametrize("share", [0.25, 0.5])
def test_counts_are_those_of_the_model_and_against_the_original(share: float) -> None:
    plain = kswap.plan("test_efficientnet", ch=8, input_size=SIZE)
    conversion = kswap.convert("test_efficientnet", ch=8, narrow=share, device="cpu", input_size=SIZE)
    report = conversion.report
    assert report.params.before == plain.before.params
    assert report.macs.before == plain.before.macs
    assert report.params.after == sum(p.numel() for p in conversion.model.parameters())
    assert report.macs.after == observe(conversion.model, (torch.zeros(1, 3, *SIZE),)).total.macs
    assert report.params.after < count_plan(plain).params
    assert conversion.plan == kswap.plan("test_efficientnet", ch=8, narrow=share, input_size=SIZE)
    assert conversion.plan["blocks.3.0.conv_pwl"].site.in_channels == 128 * share
    assert any("blocks.3.0.conv_pw 128 to " in note for note in report.notes)


def test_a_narrowed_network_is_saved_and_replayed(tmp_path: Path) -> None:
    model = timm.create_model("test_efficientnet", num_classes=5)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    asked = {"blocks.3.0.conv_pw": 40, "blocks.4.0.conv_pw": 96}
    conversion = kswap.convert(model, ch=8, narrow=asked, input_size=SIZE, seed=0)
    assert [(item.hidden.expansion, item.channels) for item in conversion.plan.narrowings] == list(asked.items())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert Plan.from_json(json.loads(json.dumps(conversion.plan.to_json()))) == conversion.plan
    loaded = kswap.load(conversion.save(tmp_path / "model"))
    again = kswap.convert(model, plan=conversion.plan, seed=0)
    x = torch.randn(1, 3, *SIZE)
    with torch.no_grad():
        expected = conversion.model.eval()(x)
        assert torch.equal(loaded.model(x), expected)
        assert torch.equal(again.model.eval()(x), expected)
    assert loaded.plan == conversion.plan


def test_narrowing_alone_is_a_conversion() -> None:
    """At this ch nothing else is replaced; the weights that stay are those of the original."""
    model = random_(timm.create_model("test_efficientnet"))
    conversion = kswap.convert(model, ch=1024, narrow=0.5, input_size=SIZE)
    assert not conversion.plan.replaced
    assert torch.equal(conversion.model.blocks[3][0].conv_dw.weight, model.blocks[3][0].conv_dw.weight[:64])
    assert conversion.model.blocks[3][0].conv_dw.groups == 64
    assert conversion.report.params.ratio < 0.9


def test_an_optimizer_follows() -> None:
    model = timm.create_model("test_efficientnet").train()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(2, 3, *SIZE)).sum().backward()
    optimizer.step()
    converted = kswap.convert(model, ch=8, narrow=0.5, input_size=SIZE, optimizer=optimizer).model
    assert set(optimizer.param_groups[0]["params"]) == set(converted.parameters())
    converted(torch.randn(2, 3, *SIZE)).sum().backward()
    optimizer.step()


def test_a_narrowed_network_is_exported(tmp_path: Path) -> None:
    conversion = kswap.convert("test_efficientnet", ch=8, narrow=0.5, device="cpu", input_size=SIZE)
    exported = export_model(conversion.model, torch.randn(1, 3, *SIZE), "onnx", tmp_path / "model.onnx")
    assert exported.error < 1e-5
    assert exported.params == conversion.report.params.after


@pytest.mark.parametrize(
    ("narrow", "message"),
    [
        (1.5, "between 0 and 1"),
        (0, "between 0 and 1"),
        (True, "between 0 and 1"),
        ({"conv_stem": 8}, "makes no hidden channels"),
        ({"blocks.3.0.conv_pwl": 8}, "cannot become fewer: its 48 outputs are a bottleneck already"),
        ({"blocks.3.0.conv_pv": 8}, "did you mean blocks.3.0.conv_pw"),
        ({"blocks.3.0.conv_pw": 128}, "between 1 and 127 of its 128 channels"),
    ],
)
def test_what_cannot_be_narrowed_is_refused(narrow: object, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        kswap.plan("test_efficientnet", narrow=narrow, input_size=SIZE)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda plan: plan.pop("narrowed"), "has the counts 'narrowed' if it has narrowings"),
        (lambda plan: plan["narrowings"][0].update(channels="8"), "must be a whole number"),
        (lambda plan: plan["narrowings"][0].update(channels=0), "between 1 and"),
        (lambda plan: plan["narrowings"][0]["hidden"].update(along=[1]), "must be a text"),
        (lambda plan: plan["narrowings"][0]["hidden"].update(along=["b", "b"]), "name b twice"),
        (lambda plan: plan["narrowings"][0].update(order=[1]), "unknown key 'order'"),
        (lambda plan: plan.update(narrowings="all"), "must be a list of tables"),
    ],
)
def test_a_plan_with_wrong_narrowings_is_refused(change: object, message: str) -> None:
    plan = json.loads(json.dumps(kswap.plan("test_efficientnet", ch=8, narrow=0.5, input_size=SIZE).to_json()))
    change(plan)  # type: ignore[operator]
    with pytest.raises(PlanError, match=message):
        Plan.from_json(plan)


@pytest.mark.parametrize(
    ("hidden", "message"),
    [
        (HiddenChannels("expand", "project", 32), "without 32 channels"),
        (HiddenChannels("expand", "projection", 64), "no module 'projection'"),
        (HiddenChannels("expand", "project", 64, along=("between",)), "'between' is a GELU"),
    ],
)
def test_a_plan_for_another_model_changes_nothing(hidden: HiddenChannels, message: str) -> None:
    model = Between(nn.GELU())
    with pytest.raises(PlanError, match=message):
        narrow_(model, Narrowing(hidden, 16))
    assert model.expand.out_channels == 64


def test_the_command_line_narrows(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from kswap.cli.main import main

    asked = ["convert", "test_efficientnet", "--ch", "8", "--narrow", "0.5", "--input-size", "64", "--format", "json"]
    done = CliRunner().invoke(main, [*asked, "--device", "cpu", "--out", str(tmp_path / "model")])
    assert done.exit_code == 0, done.output
    assert len(kswap.load(tmp_path / "model").plan.narrowings) == MODELS["test_efficientnet"]
    assert CliRunner().invoke(main, [*asked, "--narrow", "2"]).exit_code == 2
