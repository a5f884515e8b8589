"""Converted models: drop-in, graph, modes, untouched weights, what may not be replaced."""

from __future__ import annotations

import copy
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import kswap
from kswap.graph.call import Call
from kswap.graph.match import find_sites
from kswap.graph.observe import observe
from kswap.graph.tracer import TraceError, graph_module, trace
from kswap.nn import Absorbed, GroupedPointwise, Interleave, PointwiseBlock
from kswap.planner import Plan

IMAGE = Call((torch.zeros(1, 3, 64, 64),))
SMALL = "mobilenetv3_small_050"


def converted(model: Any = "efficientnet_b0", **arguments: Any) -> kswap.Conversion:
    return kswap.convert(model, **({"device": "cpu", "seed": 0} | arguments))


@pytest.fixture(scope="module")
def b0() -> kswap.Conversion:
    return converted(num_classes=10, drop_path_rate=0.2, drop_rate=0.2)


def test_bytes_are_those_of_what_is_saved(b0: kswap.Conversion) -> None:
    def saved(module: nn.Module) -> int:
        return sum(tensor.nbytes for tensor in module.state_dict().values())

    original = timm.create_model("efficientnet_b0", num_classes=10)
    assert b0.report.bytes is not None
    assert (b0.report.bytes.before, b0.report.bytes.after) == (saved(original), saved(b0.model))
    rows = {row.name: row for row in b0.report.sites}
    head = rows["conv_head"]
    assert head.bytes_before == saved(original.conv_head) + saved(original.bn2)
    assert head.bytes_after == saved(b0.model.conv_head)
    stays = rows["blocks.0.0.conv_pw"]
    assert stays.bytes_before == stays.bytes_after == saved(original.blocks[0][0].conv_pw)
    assert kswap.Report.from_json(b0.report.to_json()) == b0.report


def test_drop_in_keeps_class_and_methods(b0: kswap.Conversion) -> None:
    model = copy.deepcopy(b0.model).eval()
    original = timm.create_model("efficientnet_b0", num_classes=10)
    assert type(model) is type(original)
    assert b0.report.drop_in
    assert model.pretrained_cfg == original.pretrained_cfg
    assert [i["num_chs"] for i in model.feature_info] == [i["num_chs"] for i in original.feature_info]
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        features = model.forward_features(x)
        assert torch.equal(model.forward_head(features), model(x))
        assert features.shape == original.eval().forward_features(x).shape
    assert isinstance(model.get_classifier(), nn.Linear)
    model.set_grad_checkpointing(True)
    model.train()(x).sum().backward()
    model.set_grad_checkpointing(False)
    model.reset_classifier(7)
    assert model.eval()(x).shape == (2, 7)


def test_features_only_models_convert() -> None:
    model = kswap.create_model(SMALL, ch=8, features_only=True)
    original = timm.create_model(SMALL, features_only=True)
    x = torch.zeros(1, 3, 64, 64)
    assert [f.shape for f in model.eval()(x)] == [f.shape for f in original.eval()(x)]
    assert any(isinstance(m, PointwiseBlock) for m in model.modules())


def test_hooked_feature_models_convert() -> None:
    """timm's hooks stand on activations that a block has copies of: the copies carry none."""
    model = kswap.create_model("xception41", ch=16, features_only=True).eval()
    x = torch.randn(1, 3, 64, 64)
    features = model(x)
    assert [f.shape[1] for f in features] == model.feature_info.channels()
    hooked = [name for name, m in model.named_modules() if m._forward_hooks]
    assert hooked
    assert not any(
        isinstance(m, PointwiseBlock) and any(p._forward_hooks for p in m.modules()) for m in model.modules()
    )


def test_graph_shows_the_four_steps(b0: kswap.Conversion) -> None:
    graph = b0.graph_module.graph
    graph.lint()
    modules = dict(b0.graph_module.named_modules())
    called = [node for node in graph.nodes if node.op == "call_module"]
    grouped = [node for node in called if isinstance(modules[node.target], GroupedPointwise)]
    assert len(grouped) == sum(2 if site.layer.l else 1 for site in b0.plan.replaced)
    interleaves = [node for node in called if isinstance(modules[node.target], Interleave)]
    assert len(interleaves) == sum(site.layer.interleave_step is not None for site in b0.plan.replaced)
    name = "blocks.6.0.conv_pwl"
    k, inter, second = (next(n for n in called if n.target == f"{name}.{p}") for p in ("k", "interleave", "l"))
    k_norm, l_norm = (next(n for n in called if n.target == f"{name}.{p}") for p in ("k_norm", "l_norm"))
    assert k_norm.args == (k,)
    assert inter.args == (k_norm,)
    assert second.args == (inter,)
    total = next(iter(l_norm.users))
    assert total.args == (k_norm, l_norm)
    assert total.op == "call_function"


def test_graph_shares_parameters_and_gives_the_same_numbers(b0: kswap.Conversion) -> None:
    graph = b0.graph_module
    b0.model.eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(graph(x), b0.model(x))
    assert {id(p) for p in graph.parameters()} == {id(p) for p in b0.model.parameters()}


def test_modes_switch_drop_path_dropout_and_norms(b0: kswap.Conversion) -> None:
    """In training two passes differ and move the norms; in eval they are equal. Model and graph alike."""
    x = torch.randn(4, 3, 64, 64)
    for forward in (copy.deepcopy(b0.model), graph_module(copy.deepcopy(b0.model), b0.call)):
        assert sum(type(m).__name__ == "DropPath" for m in forward.modules()) >= 9
        forward.train()
        before = {k: v.clone() for k, v in forward.state_dict().items() if "running_mean" in k}
        with torch.no_grad():
            first, second = forward(x), forward(x)
        assert not torch.equal(first, second)
        assert all(not torch.equal(before[k], v) for k, v in forward.state_dict().items() if k in before)
        forward.eval()
        with torch.no_grad():
            assert torch.equal(forward(x), forward(x))


def test_a_graph_traced_in_either_mode_is_the_same() -> None:
    model = timm.create_model(SMALL, drop_path_rate=0.2, drop_rate=0.3)
    nodes = [[n.format_node() for n in trace(m, IMAGE).graph.nodes] for m in (model.train(), model.eval())]
    assert nodes[0] == nodes[1]


def test_tensors_that_the_forward_pass_makes_are_in_the_graph() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 64, 1)
            self.point = nn.Conv2d(64, 64, 1)

        def forward(self, x: Tensor) -> Tensor:
            positions = torch.arange(64, device=next(self.parameters()).device).view(1, 64, 1, 1)
            x = self.point(self.stem(x)).relu() + positions * torch.tensor(0.5)
            return x + x.new_zeros(x.shape[0], 1, 1, 1)

    conversion = converted(Positions(), ch=8, input_size=(8, 8))
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(conversion.graph_module(x), conversion.model(x))


def test_argument_is_untouched() -> None:
    model = timm.create_model(SMALL).train()
    text, state = repr(model), {k: v.clone() for k, v in model.state_dict().items()}
    conversion = converted(model, ch=8)
    assert repr(model) == text
    assert model.training
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in state.items())
    assert conversion.model.training
    mine = {id(p) for p in model.parameters()}
    assert not any(id(p) in mine for p in conversion.model.parameters())


def test_all_else_keeps_its_weights() -> None:
    model = timm.create_model(SMALL)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    conversion = converted(model, ch=8)
    state, new = model.state_dict(), conversion.model.state_dict()
    gone = [name for site in conversion.plan.replaced for name in (site.name, site.site.norm and site.site.norm.name)]
    untouched = {k for k in state if k.rpartition(".")[0] not in gone}
    assert len(untouched) > 50
    assert all(torch.equal(state[key], new[key]) for key in untouched)


def test_seed_makes_all_weights_reproducible() -> None:
    def hashes(seed: int | None) -> list[float]:
        return [p.double().sum().item() for p in converted(SMALL, ch=8, seed=seed).model.parameters()]

    rng = torch.get_rng_state()
    assert hashes(3) == hashes(3)
    assert torch.equal(torch.get_rng_state(), rng)
    assert hashes(3) != hashes(4)


def test_a_plan_is_replayed() -> None:
    plan = kswap.plan(SMALL, ch=8)
    again = Plan.from_json(plan.to_json())
    assert again == plan
    replayed = converted(SMALL, plan=again)
    assert repr(replayed.model) == repr(converted(SMALL, ch=8).model)
    fewer = plan.keep([plan.replaced[0].name])
    assert len(converted(SMALL, plan=fewer).report.replaced) == len(plan.replaced) - 1


def test_a_plan_of_another_model_is_refused() -> None:
    with pytest.raises(kswap.KswapError, match="does not fit this model"):
        converted("resnet10t", plan=kswap.plan(SMALL, ch=8))
    wide = kswap.plan("mobilenetv3_small_100", ch=8)
    with pytest.raises(kswap.KswapError, match="has channels"):
        converted(SMALL, plan=wide)


def test_a_kept_site_that_the_model_lacks_is_refused() -> None:
    plan = kswap.plan(SMALL, ch=8)
    last = plan.kept[-1]
    misspelt = replace(last, site=replace(last.site, name=f"{last.name}x"))
    edited = replace(plan, sites=tuple(misspelt if site is last else site for site in plan.sites))
    with pytest.raises(kswap.KswapError, match=f"it has no module '{last.name}x'"):
        converted(SMALL, plan=edited)


def test_recorded_run_finds_what_fx_finds() -> None:
    """The fallback for models that fx cannot trace sees the same sites, with the same norms and activations."""
    for name in (SMALL, "resnet26d", "ghostnet_100", "regnety_002"):
        model = timm.create_model(name)
        observation = observe(model, (torch.zeros(1, 3, 64, 64),))
        graph = trace(model, IMAGE).graph
        assert graph is not None
        assert find_sites(model, None, observation) == find_sites(model, graph, observation)


class Awkward(nn.Module):
    """A model of everything that makes surgery hard."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 3, 2, 1)
        self.plain = nn.Conv2d(64, 64, 1, bias=False)
        self.norm = nn.BatchNorm2d(64)
        self.shared_act = nn.SiLU()
        self.no_norm = nn.Conv2d(64, 64, 1)
        self.twice = nn.Conv2d(64, 64, 1)
        self.functional = nn.Conv2d(64, 128, 1)
        self.read = nn.Conv2d(128, 128, 1)
        self.branched = nn.Conv2d(128, 128, 1)
        self.padded = nn.Conv2d(128, 128, 1, padding=1)
        self.never = nn.Conv2d(128, 128, 1)
        self.one = nn.Conv2d(128, 128, 1)
        self.alias = self.one
        self.hooked = nn.Conv2d(128, 128, 1)
        self.hooked.register_forward_hook(lambda *_: None)
        self.relu = nn.ReLU(inplace=True)
        self.odd = nn.utils.parametrizations.weight_norm(nn.Conv2d(128, 128, 1))
        self.head = nn.Conv2d(128, 10, 1)

    def forward(self, x: Tensor, double: bool = False) -> dict[str, Any]:
        x = self.shared_act(self.norm(self.plain(self.stem(x))))
        x = self.shared_act(self.no_norm(x))
        x = self.twice(self.twice(x))
        x = F.relu(self.functional(x), inplace=True)
        x = F.conv2d(x, self.read.weight, self.read.bias)
        x = self.branched(x)
        x = x + x.sigmoid()
        x = self.relu(self.alias(self.hooked(self.padded(x))))
        x = self.relu(self.odd(x))
        if double:
            x = x * 2
        return {"logits": self.head(x).mean((2, 3)), "maps": [x]}


def test_awkward_constructs_are_left_or_handled_with_a_reason() -> None:
    torch.manual_seed(0)
    model = Awkward().eval()
    conversion = converted(model, ch=8, example_input=torch.zeros(1, 3, 16, 16))
    site = {s.name: s for s in conversion.report.sites}
    assert {name for name, s in site.items() if s.action == "keep"} == {
        "read", "padded", "never", "hooked", "odd", "head"
    }  # fmt: skip
    assert "read elsewhere" in site["read"].reason
    assert "padded" in site["padded"].reason
    assert "not called" in site["never"].reason
    assert "hooks" in site["hooked"].reason
    assert "parametrized" in site["odd"].reason
    assert "classifier" in site["head"].reason
    assert (site["plain"].norm, site["plain"].activation) == ("BatchNorm2d", None)
    assert "several times" in site["plain"].reason
    assert (site["no_norm"].norm, site["no_norm"].activation) == (None, None)
    assert "called 2 times" in site["twice"].reason
    assert site["functional"].activation == "ReLU"
    new = conversion.model
    assert isinstance(new.norm, Absorbed)
    assert isinstance(new.shared_act, nn.SiLU)
    assert new.alias is new.one
    assert isinstance(new.one, PointwiseBlock)
    out = new(torch.randn(2, 3, 16, 16))
    assert out["logits"].shape == (2, 10)
    assert out["maps"][0].shape == (2, 128, 10, 10)


def test_a_model_that_fx_cannot_trace_is_converted_from_a_recorded_run() -> None:
    class Branching(Awkward):
        def forward(self, x: Tensor, double: bool = False) -> dict[str, Any]:
            return super().forward(x, double=bool(x.sum() > 0))

    model = Branching()
    conversion = converted(model, ch=8, example_input=torch.zeros(1, 3, 16, 16))
    traced = converted(Awkward(), ch=8, example_input=torch.zeros(1, 3, 16, 16))
    assert conversion.report.sites == traced.report.sites
    assert "cannot trace" in " ".join(conversion.report.notes)
    with pytest.raises(TraceError, match="cannot trace"):
        _ = conversion.graph_module


def test_linear_placement_makes_the_block_one_linear_map() -> None:
    rules = {"placement": "linear"}
    conversion = converted(SMALL, ch=8, rules=rules)
    for site in conversion.plan.replaced:
        block = conversion.model.get_submodule(site.name)
        assert block.k_norm is None
        assert block.k_act is None
    assert not any(isinstance(m, Absorbed) for m in conversion.model.modules())


def test_an_activation_by_rule() -> None:
    rules = {"activation": "relu"}
    conversion = converted("efficientnet_b0", ch=16, rules=rules, num_classes=10)
    block = conversion.model.get_submodule("blocks.6.0.conv_pw")
    assert isinstance(block.k_norm.act, nn.ReLU)
    assert conversion.report.computations.after < 124_714_558
    assert next(s for s in conversion.report.sites if s.name == "conv_head").activation == "relu"


def test_counts_of_an_activation_by_rule_are_those_of_the_built_model() -> None:
    for activation in ("relu", "hard_swish", "gelu", "sigmoid"):
        conversion = converted(SMALL, ch=8, rules={"activation": activation})
        observed = observe(conversion.model, (torch.zeros(1, 3, 224, 224),)).total
        assert observed.operations + 5 * 1000 in (
            2 * conversion.report.computations.after,
            2 * conversion.report.computations.after + 1,
        )


def test_a_report_says_when_a_site_grows() -> None:
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Conv2d(5, 5, 1, bias=False), nn.BatchNorm2d(5), nn.Conv2d(5, 9, 3))
    report = converted(model, ch=2, input_size=(16, 16)).report
    assert report.sites[0].grows
    assert any("more parameters than before" in note for note in report.notes)


def test_rules_that_match_nothing_are_reported() -> None:
    rules = {"rule": [{"match": {"name": "blocks.9.*"}, "keep": True}]}
    assert any("blocks.9.*" in note for note in kswap.plan(SMALL, ch=8, rules=rules).notes)


def test_the_plan_allocates_nothing() -> None:
    """One of timm's largest with pointwise convolutions: its 480 million parameters would take 1.9 GB.

    In a process of its own, since the largest size of a process never falls.
    """
    code = """
import resource, kswap
kswap.plan("test_resnet", ch=4)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
plan = kswap.plan("tf_efficientnet_l2", ch=16)
print(plan.before.params, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    params, grown = map(int, done.stdout.split())
    assert params > 480_000_000
    assert grown < 500_000  # KiB


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_traced_on_cpu_runs_on_cuda() -> None:
    conversion = converted(SMALL, ch=8, device="cuda")
    x = torch.randn(2, 3, 64, 64, device="cuda")
    conversion.model.eval()
    with torch.no_grad():
        assert conversion.model(x).is_cuda
        torch.testing.assert_close(conversion.graph_module(x), conversion.model(x))
