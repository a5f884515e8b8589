"""Linear is a pointwise convolution: replaced by rule on the last dimension, with a policy for what stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
import transformers as hf
from bypass import bypass_, equal, scatter_
from click.testing import CliRunner
from torch import Tensor, nn

import kswap
from kswap.cli.main import main
from kswap.graph.observe import observe
from kswap.nn import GroupedBlock, GroupedPointwise, PointwiseBlock
from kswap.nn.pointwise import GroupedLinear
from kswap.planner import BlockSettings, plan_layer
from kswap.planner.counting import count_plan
from kswap.planner.sites import Site
from kswap.rules import decide, load_rules

IDS = torch.arange(12).view(1, 12)
TEXT = {"vocab_size": 100, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def converted(model: Any, **arguments: Any) -> kswap.Conversion:
    return kswap.convert(model, **({"device": "cpu", "seed": 0, "linear": True} | arguments))


def reasons(plan: kswap.Plan) -> dict[str, str]:
    return {site.name: site.reason for site in plan.sites}


@pytest.mark.parametrize(("inputs", "filters", "ch"), [(53, 37, 8), (64, 48, 16), (40, 90, 8), (33, 5, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_block_is_the_convolution_block_on_the_last_dimension(
    inputs: int, filters: int, ch: int, bias: bool
) -> None:
    """Same layout: with the weights of the convolutions it computes the same, for any number of dimensions."""
    plan = plan_layer(inputs, filters, ch)
    norm = nn.LayerNorm(filters)
    linear = GroupedBlock(plan, norm, nn.GELU(), replaces=nn.Linear(inputs, filters, bias=bias)).double()
    conv = GroupedBlock(plan, None, None, replaces=nn.Conv2d(inputs, filters, 1, bias=bias)).double()
    weights = linear.state_dict()
    conv.load_state_dict(
        {key: weights[key].view(value.shape) for key, value in conv.state_dict().items()}, strict=False
    )

    def on_map(layer: GroupedPointwise, x: Tensor) -> Tensor:
        return layer(x.movedim(-1, 1)).movedim(1, -1)

    x = torch.randn(2, 3, 5, inputs, dtype=torch.double)
    k = linear.k_act(linear.k_norm(on_map(conv.k, x)))
    expected = k
    if conv.l is not None:
        mixed = k if linear.interleave is None else linear.interleave(k)
        expected = k + linear.l_act(linear.l_norm(on_map(conv.l, mixed)))
    torch.testing.assert_close(linear(x), expected)
    torch.testing.assert_close(linear(x[0, 0]), expected[0, 0])
    torch.testing.assert_close(linear(x[0, 0, 0]), expected[0, 0, 0])
    assert linear(x[:0]).shape == (0, 3, 5, filters)
    assert (linear.in_features, linear.out_features) == (inputs, filters)


def test_grouped_linear_starts_from_glorot() -> None:
    block = GroupedBlock(plan_layer(1152, 320, 16), replaces=nn.Linear(1152, 320))
    block.reset_parameters()
    for path in block.grouped_layers:
        for layer in path.convolutions:
            limit = (6 / (16 + layer.weight.shape[0])) ** 0.5
            assert 0.97 * limit < layer.weight.abs().max().item() <= limit
            assert not layer.bias.any()


@pytest.mark.parametrize(("kind", "shape"), [(nn.Conv1d, (20,)), (nn.Conv3d, (3, 4, 5))])
def test_other_convolutions_with_kernel_one(kind: type[nn.Module], shape: tuple[int, ...]) -> None:
    """They are sites by default, like those of two dimensions; ``match`` can leave them out."""
    norm = nn.BatchNorm1d if kind is nn.Conv1d else nn.BatchNorm3d
    model = nn.Sequential(
        kind(4, 64, 3, padding=1), kind(64, 48, 1, stride=2), norm(48), nn.ReLU(), kind(48, 7, 3, padding=1)
    )
    x = torch.randn(2, 4, *shape)
    conversion = kswap.convert(model, ch=8, example_input=x, linear=False)
    (site,) = conversion.plan.replaced
    assert (site.site.type, site.site.stride) == (kind.__name__, 2)
    assert site.absorbs_norm
    assert site.absorbs_activation
    block = conversion.model[1]
    assert block.stride == (2,) * len(shape)
    assert conversion.model(x).shape == model(x).shape
    dense = nn.Conv2d(64, 48, 1)
    assert (
        block(torch.zeros(1, 64, *shape)).shape[2:] == kind(64, 48, 1, stride=2)(torch.zeros(1, 64, *shape)).shape[2:]
    )
    assert sum(p.numel() for p in block.k.parameters()) < sum(p.numel() for p in dense.parameters())
    with pytest.raises(kswap.KswapError, match="no pointwise"):
        kswap.plan(model, ch=8, rules={"match": ["conv"]}, example_input=x)


@pytest.mark.parametrize(
    ("name", "before", "after", "replaced"),
    [
        ("convnext_tiny", 28_589_128, 3_353_128, 36),
        ("swin_tiny_patch4_window7_224", 28_288_354, 9_959_074, 27),
        ("mixer_s16_224", 18_528_264, 1_430_056, 32),
        ("vit_tiny_patch16_224", 5_717_416, 2_401_960, 24),
        ("deit_tiny_distilled_patch16_224", 5_910_800, 2_595_344, 24),
    ],
)
def test_mlps_are_replaced_and_the_rest_stays_with_a_reason(name: str, before: int, after: int, replaced: int) -> None:
    plan = kswap.plan(name, linear=True)
    assert (plan.before.params, count_plan(plan).params, len(plan.replaced)) == (before, after, replaced)
    assert {site.site.type for site in plan.sites} == {"Linear"}
    for site in plan.sites:
        mlp = ".fc" in site.name and "head" not in site.name
        assert site.replaced == (mlp or site.name.endswith("reduction"))
        if site.name.endswith(".qkv"):
            assert (site.site.role, site.reason.partition(":")[0]) == ("fused-qkv", "fused qkv")
        elif site.name.endswith("attn.proj"):
            assert (site.site.role, site.reason.partition(";")[0]) == ("attention", "attention projection")
        elif site.name.startswith("head"):
            assert (site.site.role, site.reason) == ("classifier", "the classifier is never replaced")


@pytest.mark.parametrize(
    ("name", "size"),
    [("vit_tiny_patch16_224", (224, 224)), ("convnextv2_atto", (64, 64)), ("levit_128s", (224, 224))],
)
def test_counts_are_those_of_the_built_model(name: str, size: tuple[int, int]) -> None:
    model = timm.create_model(name, num_classes=10)
    conversion = converted(model, input_size=size)
    promised, inputs = count_plan(conversion.plan), (torch.zeros(1, 3, *size),)
    before, after = observe(model, inputs).total, observe(conversion.model, inputs).total
    assert promised.params == sum(p.numel() for p in conversion.model.parameters())
    assert promised.macs == after.macs
    assert after.operations - before.operations == promised.operations - conversion.plan.before.operations
    assert conversion.report.drop_in
    conversion.model.train()(torch.randn(2, 3, *size)).sum().backward()
    assert all(
        p.grad is not None
        for site in conversion.plan.replaced
        for p in conversion.model.get_submodule(site.name).parameters()
    )


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "mixer_s32_224", "swinv2_cr_tiny_ns_224", "xcit_nano_12_p16_224"]
)
def test_nothing_outside_the_blocks_changes(name: str) -> None:
    model = timm.create_model(name, num_classes=10).eval()
    scatter_(model)
    conversion = converted(model)
    assert bypass_(conversion, model) > 0
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert equal(conversion.model.eval()(x), model(x))


def test_attention_is_replaced_where_a_rule_asks_for_it() -> None:
    def asked(match: dict[str, Any]) -> set[str]:
        rules = {"match": ["linear"], "rule": [{"match": match, "keep": False}]}
        plan = kswap.plan("vit_tiny_patch16_224", rules=rules)
        return {site.site.role for site in plan.replaced}

    mlp = {"expansion", "projection"}
    assert asked({"role": "attention"}) == mlp | {"attention"}
    assert asked({"name": "*.qkv"}) == mlp | {"fused-qkv"}
    assert asked({"role": ["attention", "fused-qkv"], "name": "blocks.*"}) == mlp | {"attention", "fused-qkv"}
    assert asked({"type": "Linear"}) == mlp
    assert asked({"in_channels": {"min": 1}}) == mlp
    conversion = converted(
        "vit_tiny_patch16_224", rules={"rule": [{"match": {"role": ["attention", "fused-qkv"]}, "keep": False}]}
    )
    assert len(conversion.plan.kept) == 1
    assert conversion.model(torch.randn(1, 3, 224, 224)).shape == (1, 1000)


def test_a_site_on_request_is_kept_by_a_later_rule_too() -> None:
    site = Site("attn.proj", 64, 64, role="attention", type="Linear", opt_in_reason="attention projection")
    ask = {"match": {"role": "attention"}, "keep": False}
    keep = {"match": {"type": "Linear"}, "keep": True, "why": "all of them"}
    assert decide(load_rules({}), site, BlockSettings()).why == "attention projection"
    assert not decide(load_rules({"rule": [ask]}), site, BlockSettings()).keep
    assert decide(load_rules({"rule": [ask, keep]}), site, BlockSettings()).why == "all of them"
    assert not decide(load_rules({"rule": [keep, ask]}), site, BlockSettings()).keep


class Attention(nn.Module):
    """Odd names, so that only the flow tells what they are."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.fc1 = nn.Linear(64, 192 if fused else 64)
        self.fc2, self.fc3 = nn.Linear(64, 64), nn.Linear(64, 64)
        self.fc4 = nn.Linear(64, 64)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.fc1(x).chunk(3, -1) if self.fused else (self.fc1(x), self.fc2(x), self.fc3(x))
        return self.fc4((q @ k.transpose(-2, -1)).softmax(-1) @ v)


class Odd(nn.Module):
    """What may not be replaced, or only when asked for."""

    def __init__(self, fused: bool = True) -> None:
        super().__init__()
        self.embed = nn.Linear(48, 64)
        self.attention = Attention(fused)
        self.torchs = nn.MultiheadAttention(64, 4, batch_first=True)
        self.encoder = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
        self.qkv = nn.Linear(64, 64)
        self.norm = nn.LayerNorm(64)
        self.wide = nn.Linear(64, 128)
        self.batch_norm = nn.BatchNorm1d(10)
        self.read = nn.Linear(128, 64)
        self.tied, self.tied_too = nn.Linear(64, 64), nn.Linear(64, 64)
        self.tied_too.weight = self.tied.weight
        self.twice = nn.Linear(64, 64)
        self.never = nn.Linear(64, 64)
        self.head = nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.flatten(2))
        x = x + self.attention(x)
        x = self.encoder(x + self.torchs(x, x, x)[0])
        x = self.norm(self.qkv(x))
        x = self.batch_norm(self.wide(x)).sin()
        x = F.linear(x, self.read.weight)
        x = self.tied_too(self.tied(self.twice(self.twice(x))))
        return self.head(x.mean(1))


def test_what_stays_and_why() -> None:
    x = torch.randn(2, 10, 3, 4, 4)
    conversion = converted(Odd().eval(), ch=8, example_input=x)
    why = reasons(conversion.plan)
    assert "embeds the model's input" in why["embed"]
    assert "fused qkv" in why["attention.fc1"]
    assert "not called" in why["attention.fc2"]
    assert "attention projection" in why["attention.fc4"]
    assert "read elsewhere" in why["torchs.out_proj"]
    assert "fast path" in why["encoder.linear1"]
    assert "read elsewhere" in why["read"]
    assert "tied to that of tied_too" in why["tied"]
    assert "tied to that of tied" in why["tied_too"]
    assert "not called" in why["never"]
    assert "classifier" in why["head"]
    assert {site.name for site in conversion.plan.replaced} == {"qkv", "wide", "twice"}
    assert "batch_norm does not normalise the channels of wide" in why["wide"]
    assert "called 2 times" in why["twice"]
    qkv = conversion.model.qkv
    assert isinstance(qkv.k_norm, nn.LayerNorm)
    assert isinstance(qkv.k.first, GroupedLinear)
    with torch.no_grad():
        assert conversion.model.eval()(x).shape == (2, 5)
    separate = reasons(kswap.plan(Odd(fused=False), ch=8, linear=True, example_input=x))
    assert all(separate[f"attention.fc{n}"].startswith("attention projection") for n in (1, 2, 3, 4))


def test_hooks_and_own_forward_passes() -> None:
    class Halved(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) / 2

    model = nn.Sequential(
        nn.Embedding(9, 64), Halved(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64)
    )
    model[5].register_forward_hook(lambda *_: None)
    model.append(nn.LayerNorm(64))
    plan = kswap.plan(model, ch=8, linear=True, example_input=torch.zeros(1, 4, dtype=torch.long))
    assert "Halved computes its output in its own way, not as Linear does" in plan["1"].reason
    assert plan["3"].site.activation is not None
    assert "hooks" in plan["5"].reason


LANGUAGE = {
    "bert": lambda: hf.BertForMaskedLM(hf.BertConfig(**TEXT, intermediate_size=128)),
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**TEXT, intermediate_size=160)),
    "phi3": lambda: hf.Phi3ForCausalLM(
        hf.Phi3Config(**TEXT, intermediate_size=160, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    ),
    "t5": lambda: hf.T5EncoderModel(
        hf.T5Config(vocab_size=100, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4)
    ),
}


@pytest.mark.parametrize(("name", "replaced"), [("bert", 5), ("llama", 6), ("phi3", 4), ("t5", 4)])
def test_language_models_convert(name: str, replaced: int) -> None:
    torch.manual_seed(0)
    model = LANGUAGE[name]()
    conversion = converted(model, ch=16, example_input=IDS)
    assert len(conversion.plan.replaced) == replaced
    assert type(conversion.model) is type(model)
    assert all(
        "attention" in s.name.lower() or s.name.endswith(("head", "decoder")) or "attn" in s.name
        for s in conversion.plan.kept
    )
    out = conversion.model.train()(IDS)
    sum(value.sum() for value in out.values() if isinstance(value, Tensor)).backward()
    blocks = [m for m in conversion.model.modules() if isinstance(m, PointwiseBlock)]
    assert all(p.grad is not None for block in blocks for p in block.parameters())
    everything = {"rule": [{"match": {"role": ["attention", "fused-qkv"]}, "keep": False}]}
    all_in = converted(model, ch=16, rules=everything, example_input=IDS)
    assert all_in.report.params.after < conversion.report.params.after


def test_the_conv1d_of_gpt2_is_kept_with_the_reason() -> None:
    config = hf.GPT2Config(vocab_size=100, n_embd=64, n_layer=1, n_head=4, bos_token_id=0, eos_token_id=0)
    with pytest.raises(kswap.KswapError, match="Conv1D holds its weight transposed"):
        kswap.plan(hf.GPT2LMHeadModel(config), linear=True, example_input=IDS)


def test_without_pointwise_convolutions_the_error_names_linear() -> None:
    with pytest.raises(kswap.KswapError, match="49 Linear layers with --linear"):
        kswap.plan("vit_tiny_patch16_224")
    with pytest.raises(kswap.KswapError, match="for 1 Linear layer with --linear"):
        kswap.plan(nn.Sequential(nn.Linear(64, 64)), example_input=torch.zeros(1, 64))
    with pytest.raises(kswap.KswapError, match=r"nothing to replace$"):
        kswap.plan(nn.Sequential(nn.Conv2d(3, 64, 3)), linear=True, input_size=(9, 9))


def test_only_attention_says_how_to_ask() -> None:
    class Only(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.attention, self.head = nn.Conv2d(3, 64, 4, 4), Attention(True), nn.Linear(64, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.attention(self.stem(x).flatten(2).transpose(1, 2)).mean(1))

    with pytest.raises(kswap.KswapError, match=r"the first: attention.fc1, fused qkv.*a rule can ask for it"):
        kswap.plan(Only(), ch=8, linear=True, input_size=(16, 16))


def test_saved_and_replayed(tmp_path: Path) -> None:
    mixer = converted("mixer_s32_224", num_classes=5)
    mixer.save(tmp_path / "mixer")
    loaded = kswap.load(tmp_path / "mixer", device="cpu")
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(loaded.model.eval()(x), mixer.model.eval()(x))
    again = kswap.convert("mixer_s32_224", num_classes=5, plan=mixer.plan, device="cpu")
    assert repr(again.model) == repr(mixer.model)
    assert {site["type"] for site in mixer.plan.to_json()["sites"]} == {"Linear"}


def test_rules_and_command_line() -> None:
    rules = load_rules("linear-mlp")
    assert rules.kinds == ("conv", "linear", "conv1d", "conv3d")
    assert load_rules(rules.to_json()) == rules
    assert load_rules(None).kinds == ("conv", "conv1d", "conv3d")
    with pytest.raises(kswap.KswapError, match="match at the head of the file must be one of conv, linear"):
        load_rules({"match": ["linaer"]})
    with pytest.raises(kswap.KswapError, match="must be a list"):
        load_rules({"match": "linear"})
    arguments = ["plan", "mixer_s32_224", "--format", "json"]
    flag = CliRunner().invoke(main, [*arguments, "--linear"])
    preset = CliRunner().invoke(main, [*arguments, "--rules", "linear-mlp"])
    assert json.loads(flag.stdout)["params"] == json.loads(preset.stdout)["params"]
    bare = CliRunner().invoke(main, arguments)
    assert bare.exit_code == 2
    assert "--linear" in bare.stderr
