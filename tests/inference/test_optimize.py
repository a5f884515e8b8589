"""Optimised models: the same class, the same outputs, plain layers; noted in a directory and built again."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import timm
import torch
from click.testing import CliRunner
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

import kswap
from kswap.cli.main import main
from kswap.codec import decode, encode
from kswap.coverage.sizes import smallest_size
from kswap.errors import DeployError, SavedError
from kswap.inference.kinds import candidates_of
from kswap.inference.optimize import optimize_for_inference
from kswap.inference.record import Optimization, optimization_of
from kswap.inference.selection import Selection
from kswap.inference.store import load_optimized, optimize_directory, read_optimizations, recorded_implementations
from kswap.model_table.table import read_table
from kswap.nn import GroupedPointwise, PointwiseBlock
from kswap.nn.implementation import ImplementationId
from kswap.saved.reading import read_report
from kswap.sources.builders import build
from kswap.sources.inputs import input_size_of
from kswap.sources.source import parse_source

SMALL = "mobilenetv3_small_050"
RELATIVE = 1e-5  # float32, norms folded: each weight is rounded once more

# One of each way of building: squeeze-and-excite, residuals, norms before convolutions, weight standardisation,
# layer norms, attention, several branches.
# Others are in the slow sweep below.
VARIETY = (
    "test_efficientnet",
    "test_resnet",
    "test_nfnet",
    "convnext_zepto_rms",
    "test_byobnet",
    "ghostnet_050",
    "mobilevit_xxs",
)


def trained(model: nn.Module) -> nn.Module:
    """``model`` in eval mode, with numbers in its norms as training leaves them."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.1)
    return model.eval()


def tensors(output: object) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(output)[0] if isinstance(leaf, Tensor)]


@torch.no_grad()
def assert_same(model: nn.Module, quick: nn.Module, x: Tensor) -> None:
    for wanted, found in zip(tensors(model(x)), tensors(quick(x)), strict=True):
        assert (wanted - found).abs().max() <= RELATIVE * wanted.abs().max()


def size_of(name: str) -> tuple[int, ...]:
    source = parse_source(name)
    empty = build(source, meta=True).eval()
    return smallest_size(empty, input_size_of(empty, source))


def small_conversion() -> nn.Module:
    return trained(kswap.create_model(SMALL, ch=8, num_classes=10, seed=0))


@pytest.mark.parametrize("name", VARIETY)
def test_outputs_stay(name: str) -> None:
    torch.manual_seed(0)
    model = trained(kswap.create_model(name, ch=8))
    x = torch.randn(2, *size_of(name))
    quick = optimize_for_inference(model, x, autotune=False)
    assert type(quick) is type(model)
    assert not any(isinstance(m, PointwiseBlock | GroupedPointwise) for m in quick.modules())
    assert_same(model, quick, x)
    assert optimization_of(quick).error <= RELATIVE
    assert optimization_of(quick).params_after == sum(p.numel() for p in quick.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    sorted(name for name, row in read_table().items() if row.pointwise_convolutions and row.params < 12_000_000),
)
def test_outputs_stay_in_all_smaller_models(name: str) -> None:
    torch.manual_seed(0)
    model = trained(kswap.create_model(name, ch=16))
    x = torch.randn(2, *size_of(name))
    quick = optimize_for_inference(model, x, autotune=False)
    assert type(quick) is type(model)
    assert optimization_of(quick).error <= RELATIVE


@pytest.mark.usefixtures("few_rounds")
def test_implementations_are_measured_on_the_input_that_counts() -> None:
    model = small_conversion()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    x = torch.randn(2, 3, 64, 64)
    seen: list[tuple[str, int]] = []
    quick = optimize_for_inference(model, x, threads=1, watch=lambda name, total: seen.append((name, total)))
    done = optimization_of(quick)
    assert done.autotuned
    assert done.input_shape == (2, 3, 64, 64)
    assert [name for name, _ in seen] == [layer.name for layer in done.layers]
    assert {total for _, total in seen} == {len(done.layers)}
    assert all(str(layer.implementation) in layer.seconds for layer in done.layers if layer.seconds)
    assert any(len(layer.seconds) > 1 for layer in done.layers)
    assert_same(model, quick, x)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert quick.forward_features(x).shape == model.forward_features(x).shape


def test_a_model_without_blocks_has_its_norms_folded() -> None:
    model = trained(timm.create_model("resnet18"))
    x = torch.randn(1, 3, 64, 64)
    quick = optimize_for_inference(model, x)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in quick.modules())
    assert optimization_of(quick).norms_folded == 20
    assert optimization_of(quick).layers == ()
    assert_same(model, quick, x)


class Awkward(nn.Module):
    """Norms that must stay: behind a sum, shared, after a convolution with two users, or called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.third = nn.Conv2d(8, 8, 1)
        self.fourth = nn.Conv2d(8, 8, 1)
        self.sum_norm = nn.BatchNorm2d(8)
        self.shared = nn.BatchNorm2d(8)
        self.twice = nn.BatchNorm2d(8)
        self.plain = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = self.sum_norm(self.second(x) + x)
        third = self.third(x)
        x = self.shared(third) + third
        return self.twice(self.twice(self.fourth(x)))


class Asking(nn.Module):
    """Asks its layer for stride and dtype before it calls it, as models of transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(96, 24, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        assert self.layer.stride == (2, 2)
        assert (self.layer.in_channels, self.layer.out_channels) == (96, 24)
        return self.layer(x.to(self.layer.weight.dtype)) + (0 if self.layer.bias is None else 1)


def test_a_model_may_ask_its_layers_for_their_sizes() -> None:
    x = torch.randn(1, 96, 4, 4)
    model = kswap.convert(Asking(), ch=4, example_input=x).model.eval()
    for one in candidates_of(model.layer).implementations:
        quick = optimize_for_inference(model, x, implementations={"layer": one.id})
        assert_same(model, quick, x)


def test_norms_that_have_to_stay_do() -> None:
    model = trained(Awkward())
    x = torch.randn(1, 3, 8, 8)
    quick = optimize_for_inference(model, x, autotune=False)
    assert optimization_of(quick).norms_folded == 0
    assert torch.equal(model(x), quick(x))


def test_the_implementations_of_an_earlier_run_are_taken() -> None:
    model, x = small_conversion(), torch.randn(1, 3, 64, 64)
    first = optimize_for_inference(model, x, autotune=False)
    again = optimize_for_inference(model, x, implementations=optimization_of(first).implementations)
    assert optimization_of(again) == optimization_of(first)
    assert torch.equal(first(x), again(x))
    names = optimization_of(first).implementations
    assert torch.equal(optimize_for_inference(model, x, implementations={n: str(names[n]) for n in names})(x), first(x))
    with pytest.raises(DeployError, match=r"there is no implementation grouped.k\(groups=97\)"):
        optimize_for_inference(model, x, implementations=dict.fromkeys(names, "grouped.k(groups=97)"))
    with pytest.raises(DeployError, match="no identifier of an implementation"):
        optimize_for_inference(model, x, implementations=dict.fromkeys(names, "7 groups of 9"))
    with pytest.raises(DeployError, match="no implementation is given for the block"):
        optimize_for_inference(model, x, implementations={})


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_dtype_stays(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Conv2d(96, 40, 1, bias=False), nn.BatchNorm2d(40)).to(dtype)
    x = torch.randn(1, 96, 4, 4, dtype=dtype)
    converted = kswap.convert(model, ch=16, example_input=x).model
    quick = optimize_for_inference(converted, x, autotune=False)
    assert {p.dtype for p in quick.parameters()} == {dtype}
    assert optimization_of(quick).error <= 16 * torch.finfo(dtype).eps


def test_wrong_use_is_told_in_a_sentence() -> None:
    model = small_conversion()
    with pytest.raises(DeployError, match="did you mean onnxruntime"):
        optimize_for_inference(model, target="onnxruntim")
    with pytest.raises(DeployError, match="meta device"):
        optimize_for_inference(timm.create_model(SMALL).to("meta"))
    with pytest.raises(DeployError, match="does not run on the example"):
        optimize_for_inference(model, torch.zeros(1, 5, 64, 64))


def test_json_round_trip() -> None:
    done = optimization_of(optimize_for_inference(small_conversion(), torch.randn(1, 3, 64, 64), autotune=False))
    assert decode(Optimization, json.loads(json.dumps(encode(done))), "the record", DeployError) == done
    with pytest.raises(DeployError, match="the record lacks threads"):
        decode(Optimization, {"target": "eager"}, "the record", DeployError)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    conversion = kswap.convert(SMALL, ch=8, num_classes=10, device="cpu", seed=0, input_size=(64, 64))
    trained(conversion.model)
    return conversion.save(tmp_path_factory.mktemp("optimized") / "small")


def test_a_directory_remembers_what_was_chosen(saved: Path) -> None:
    weights = (saved / "model.safetensors").read_bytes()
    made = optimize_directory(saved, autotune=False)
    again = load_optimized(saved)
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(made.model(x), again(x))
    assert_same(kswap.load(saved).model, again, x)
    assert list(read_optimizations(saved)) == ["eager"]
    assert (saved / "model.safetensors").read_bytes() == weights
    with pytest.raises(DeployError, match="not optimised for eager only"):
        load_optimized(saved, "cuda")
    conversion = kswap.load(saved)
    conversion.save(saved, force=True)
    assert not (saved / "optimized.json").exists()


@pytest.mark.usefixtures("few_rounds")
def test_reports_of_a_directory_get_the_times_that_were_measured(tmp_path: Path) -> None:
    made = kswap.convert("test_efficientnet", ch=4, device="cpu", seed=0, input_size=(32, 32))
    saved = made.save(tmp_path / "small")
    assert read_report(saved).timed is None
    record = optimize_directory(saved, "eager", threads=1).optimization
    report = read_report(saved)
    assert report.timed == "eager, 1x3x32x32, 1 thread"
    timed = {row.name: row.microseconds_after for row in report.sites if row.microseconds_after is not None}
    assert timed == {layer.name: round(1e6 * layer.seconds[str(layer.implementation)]) for layer in record.layers}
    assert report.with_times("", {}).to_json()["sites"] == made.report.to_json()["sites"]
    assert "microseconds in eager, 1x3x32x32, 1 thread" in (saved / "report.html").read_text()


def test_export_takes_what_was_recorded(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = optimize_directory(saved, "onnxruntime", autotune=False).optimization
    assert recorded_implementations(saved, "onnxruntime", (1, 3, 64, 64)) == record.implementations
    assert recorded_implementations(saved, "onnxruntime", (2, 3, 64, 64)) is None
    monkeypatch.setattr("kswap.inference.optimize.tune_model", None)  # nothing is measured again
    out = tmp_path / "small.onnx"
    done = CliRunner().invoke(main, ["export", str(saved), "--to", "onnx", "--out", str(out), "--format", "json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["params"] == record.params_after
    (saved / "optimized.json").unlink()


@pytest.mark.usefixtures("few_rounds")
def test_the_whole_model_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is measured block by block, the selection with which the whole model was quickest is taken."""
    model, x = small_conversion(), torch.randn(1, 3, 64, 64)
    proposed: dict[str, dict[str, ImplementationId]] = {}

    def timed(_: object, tried: dict[str, Selection]) -> dict[str, float]:
        proposed.update({label: dict(selection.chosen) for label, selection in tried.items()})
        return {label: 1.0 if label == "dense" else 2.0 for label in tried}

    monkeypatch.setattr("kswap.inference.model_tuning._Tuning.timed", timed)
    done = optimization_of(optimize_for_inference(model, x, "onnxruntime", threads=1))
    assert {"alone", "in context", "estimated", "dense"} <= set(proposed)
    assert done.implementations == proposed["dense"]
    assert done.seconds["dense"] == 1.0
    assert done.autotuned


def test_a_damaged_record_is_told(saved: Path) -> None:
    (saved / "optimized.json").write_text("{}")
    with pytest.raises(DeployError, match="damaged or of another version"):
        load_optimized(saved)
    (saved / "optimized.json").unlink()
    (saved / "optimized.json").symlink_to("/etc/hostname")
    with pytest.raises(SavedError, match="leads out"):
        load_optimized(saved)
    (saved / "optimized.json").unlink()
    with pytest.raises(DeployError, match="not optimised yet"):
        load_optimized(saved)


@pytest.mark.usefixtures("few_rounds")
def test_command_line(saved: Path) -> None:
    done = CliRunner().invoke(main, ["optimize", str(saved), "--no-autotune"])
    assert done.exit_code == 0, done.output
    said = " ".join(done.stdout.split())
    assert "norms folded" in said
    assert "times what was trained" in said
    done = CliRunner().invoke(main, ["optimize", str(saved), "--batch", "2", "--threads", "1", "--format", "json"])
    record = json.loads(done.stdout)
    assert record["input_shape"] == [2, 3, 64, 64]
    assert record["error"] <= RELATIVE
    chosen = {layer["name"]: decode(ImplementationId, layer["implementation"], "it") for layer in record["layers"]}
    assert optimization_of(load_optimized(saved)).implementations == chosen


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["nowhere"], "nowhere"), ([".", "--target", "tpu"], "'tpu' is not one of"), ([".", "--batch", "0"], "batch")],
)
def test_wrong_input_exits_with_2(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(main, ["optimize", *arguments])
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.output


def test_every_block_is_folded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many selections are built and timed."""
    from kswap.inference.kinds import grouped

    model, x = small_conversion(), torch.randn(1, 3, 64, 64)
    fold, folded = grouped.fold, list[object]()
    monkeypatch.setattr(grouped, "fold", lambda block: (folded.append(block), fold(block))[1])
    monkeypatch.setattr("kswap.inference.model_tuning._Tuning.timed", counted := _Timed())
    monkeypatch.setattr("kswap.inference.block_tuning._quickest", lambda candidates, *_: (candidates.densest.id, {}))
    optimize_for_inference(model, x, "onnxruntime")
    assert counted.selections > 3
    assert len(folded) == sum(isinstance(module, PointwiseBlock) for module in model.modules())


class _Timed:
    """Stands for the timing of whole models: the first selection is always the quickest."""

    selections = 0

    def __call__(self, tried: dict[str, Selection]) -> dict[str, float]:
        self.selections += len(tried)
        return {label: float(number + 1) for number, label in enumerate(tried)}


@pytest.mark.usefixtures("few_rounds")
@pytest.mark.parametrize("autotune", [False, True])
def test_the_global_random_state_is_not_advanced(autotune: bool) -> None:
    model = kswap.convert("test_resnet", ch=8, device="cpu", seed=0).model.eval()
    before = torch.get_rng_state()
    optimize_for_inference(model, torch.zeros(1, 3, 64, 64), autotune=autotune)
    assert torch.equal(torch.get_rng_state(), before)


class WithOwnAttribute(nn.Sequential):
    """Has an attribute of the name under which kswap offers its record."""

    optimization = "a word of the model's own"


def test_the_record_is_found_by_its_function() -> None:
    x = torch.randn(1, 3, 4, 4)
    model = WithOwnAttribute(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)).eval()
    quick = optimize_for_inference(model, x, autotune=False)
    assert quick.optimization == "a word of the model's own"
    assert kswap.optimization_of(copy.deepcopy(quick)).norms_folded == 1
    plain = optimize_for_inference(nn.Sequential(nn.Conv2d(3, 8, 1)).eval(), x, autotune=False)
    assert plain.optimization is kswap.optimization_of(plain)
    with pytest.raises(DeployError, match="was not optimised by kswap"):
        kswap.optimization_of(model)
