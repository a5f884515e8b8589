"""The benchmark: how it is asked, what it refuses, what it gives. Never that something is faster."""

from __future__ import annotations

import csv
import dataclasses
import inspect
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from rich.console import Console
from torch import nn

import kswap
from kswap.benchmarks.environment import Machine
from kswap.benchmarks.markdown import render_markdown
from kswap.benchmarks.memory import MemoryRequest, peak_memory
from kswap.benchmarks.model_pair import BenchmarkedModel, ModelPair, weights_bytes
from kswap.benchmarks.request import BenchmarkRequest
from kswap.benchmarks.result import Benchmark, Memory, Outside, read_benchmark
from kswap.benchmarks.run import bench, run_benchmark
from kswap.benchmarks.steps import chosen_targets
from kswap.benchmarks.terminal import render_terminal
from kswap.cli import bench as command
from kswap.cli.main import main
from kswap.codec import decode, encode
from kswap.errors import DeployError, ModelError, PlanError, SavedError
from kswap.malloc import keeping_memory, releasing_memory
from kswap.report.renderers import text_of
from kswap.runtimes.targets import TARGETS
from kswap.runtimes.targets.target import Target

SMALL = "mobilenetv3_small_050"
QUICK: dict[str, Any] = {"rounds": 6, "memory": False, "autotune": False, "threads": 1, "progress": False}


class Tiny(nn.Module):
    """Two pointwise convolutions and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 3, stride=2)
        self.first = nn.Sequential(nn.Conv2d(64, 128, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(128, 64, 1, bias=False), nn.BatchNorm2d(64))
        self.head = nn.Linear(64, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(self.second(self.first(self.stem(x))).mean((2, 3)))
        return y


def kswap_(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), prog_name="kswap")


def refused(*arguments: str) -> str:
    result = kswap_("bench", *arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.fixture(scope="module")
def found() -> Benchmark:
    """Inference and training of a module of our own, at two batches, in this process."""
    return bench(Tiny(), ch=16, batches=(1, 2), input_size=(16, 16), train=True, **QUICK)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, found: Benchmark) -> list[BenchmarkRequest]:
    """The requests that the command makes, answered without measuring."""
    requests: list[BenchmarkRequest] = []

    def note(request: BenchmarkRequest) -> Benchmark:
        requests.append(request)
        return found

    monkeypatch.setattr("kswap.benchmarks.run.run_in_process", note)
    return requests


def test_each_batch_has_a_row_for_each_way_of_running(found: Benchmark) -> None:
    ways = [(row.batch, row.setting) for row in found.rows]
    each = ["eager", "eager, as converted", "eager, training", "eager, training, as converted"]
    assert ways == [(batch, setting) for batch in (1, 2) for setting in each]
    for row in found.rows:
        assert row.comparison.rounds == 6
        assert row.comparison.ratio > 0
        assert (row.model, row.ch, row.device, row.threads) == ("Tiny", 16, "cpu", 1)
        assert row.seconds.original.q1 <= row.seconds.original.median <= row.seconds.original.q3
        assert row.memory_bytes == Memory()


def test_larger_batches_are_also_run_in_slices() -> None:
    rows = bench(Tiny(), batches=(1, 4), input_size=(16, 16), slice=2, **QUICK).rows
    settings = [(row.batch, row.setting, row.slice) for row in rows]
    assert settings == [
        (1, "eager", None),
        (1, "eager, as converted", None),
        (4, "eager", None),
        (4, "eager, as converted", None),
        (4, "eager, slices of 2", 2),
    ]


def test_sizes_are_of_the_models_that_ran(found: Benchmark) -> None:
    report = kswap.convert(Tiny(), example_input=torch.zeros(1, 3, 16, 16), seed=0).report
    for row in found.rows:
        assert row.params.original == sum(p.numel() for p in Tiny().parameters()) == report.params.before
        assert row.params.converted == report.params.after
        assert (row.macs.original, row.macs.converted) == (report.macs.before, report.macs.after)
        assert row.weights_bytes.converted < row.weights_bytes.original
        if row.form == "as converted":
            assert row.params.stored == row.params.converted
            assert row.weights_bytes.stored == row.weights_bytes.converted


def test_weights_are_counted_as_safetensors_hold_them(tmp_path: Path) -> None:
    from safetensors.torch import save_model

    model = Tiny()
    tied = nn.ModuleList([model, model.head])
    save_model(model, str(tmp_path / "a"))
    header = int.from_bytes((tmp_path / "a").read_bytes()[:8], "little")
    assert weights_bytes(model) == (tmp_path / "a").stat().st_size - 8 - header
    assert weights_bytes(tied) == weights_bytes(model)


def test_the_ceiling_is_known_for_passes_and_not_for_training_steps(found: Benchmark) -> None:
    for row in found.rows:
        if row.mode == "training":
            assert row.outside == Outside(why_not="a training step is not split into layers")
        else:
            assert row.outside.share is not None
            assert 0 < row.outside.share < 1
            assert row.outside.ceiling == 1 / row.outside.share
    assert any(line.startswith("no ceiling for eager, training: ") for line in found.remarks())


def test_narrower_layers_leave_no_ceiling(tmp_path: Path) -> None:
    kswap.convert("test_efficientnet", ch=16, narrow=0.5, device="cpu", seed=0).save(tmp_path / "narrow")
    request_ = BenchmarkRequest(
        models=(str(tmp_path / "narrow"),), targets=("eager",), rounds=3, memory=False, autotune=False
    )
    for row in run_benchmark(request_, progress=False).rows:
        assert row.outside.ceiling is None
        assert "fewer channels" in row.outside.why_not


def test_every_format_has_the_ceiling(found: Benchmark) -> None:
    row = replace(found.rows[0], outside=Outside(0.4))
    without = replace(row, target="inductor", outside=Outside(why_not="its kernels go across layers"))
    benchmark = replace(found, rows=(row, without))
    assert json.loads(text_of(benchmark, "json"))["rows"][0]["outside"] == {"share": 0.4, "why_not": "", "ceiling": 2.5}
    lines = list(csv.DictReader(io.StringIO(text_of(benchmark, "csv"))))
    assert [line["outside.ceiling"] for line in lines] == ["2.5", ""]
    markdown = render_markdown(benchmark).splitlines()
    assert [cell.strip() for cell in markdown[0].split("|")][8] == "ceiling"
    assert "| 2.50 (40%) |" in markdown[2]
    assert "no ceiling for inductor: its kernels go across layers" in markdown[-1]
    console = Console(file=io.StringIO(), width=200)
    render_terminal(benchmark, console)
    assert "2.50 (40%)" in console.file.getvalue()  # type: ignore[attr-defined]


def test_it_comes_back_from_json_as_it_was(found: Benchmark) -> None:
    text = json.dumps(found.to_json())
    assert read_benchmark(json.loads(text)) == found
    row = json.loads(text)["rows"][0]
    assert {"ratio", "low", "high", "verdict", "aa_low", "aa_high", "seconds", "params", "macs"} <= set(row)


@pytest.mark.parametrize("data", [None, [], {}, {"machine": {}, "rows": [], "notes": [], "command": ""}, "x"])
def test_other_json_is_refused(data: Any) -> None:
    with pytest.raises(DeployError, match="the benchmark"):
        read_benchmark(data)


def test_the_markdown_is_a_table_and_a_line(found: Benchmark) -> None:
    lines = render_markdown(found).splitlines()
    rows = len(found.rows)
    assert len(lines) == rows + 4
    assert {line.replace("\\|", "").count("|") for line in lines[: rows + 2]} == {13}
    assert lines[0].split("|")[5].strip() == "ratio"
    assert f"**{found.rows[0].comparison.ratio:.2f}**" in lines[2]
    for said in (found.machine.cpu.split()[0], "1 thread", "torch", kswap.__version__, found.machine.date[:10]):
        assert said in lines[-1]


def test_groups_are_aligned_where_asked_and_as_a_directory_has_them(tmp_path: Path) -> None:
    conversion = kswap.convert(SMALL, ch=8, align=16, num_classes=5, device="cpu", seed=0)
    conversion.save(tmp_path / "saved")
    named = ModelPair.of(BenchmarkedModel(SMALL, ch=8, num_classes=5, align=16))
    saved = ModelPair.of(BenchmarkedModel(str(tmp_path / "saved")))
    assert (named.align, saved.align) == (16, 16)
    assert named.report.params == saved.report.params == conversion.report.params
    assert ModelPair.of(BenchmarkedModel(SMALL, ch=8)).align is None


def test_the_blocks_of_a_row_are_shown_with_what_they_are_aligned_to(found: Benchmark) -> None:
    row = replace(found.rows[0], align=16)
    aligned = replace(found, rows=(row,))
    assert "| 16, align 16 |" in render_markdown(aligned)
    console = Console(file=io.StringIO(), width=200)
    render_terminal(aligned, console)
    assert "Ch=16 v2 align 16" in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_original_is_edited_and_typed_as_the_saved_model_was(tmp_path: Path) -> None:
    kwargs = {"num_classes": 5, "input_size": (32, 32), "device": "cpu"}
    conversion = kswap.convert(SMALL, ch=8, skip_strides=1, **kwargs)  # type: ignore[arg-type]
    conversion.model.half()
    conversion.save(tmp_path / "saved")
    pair = ModelPair.of(BenchmarkedModel(str(tmp_path / "saved"), ch=99))
    strides = [module.conv_stem.stride for module in (pair.original, pair.converted)]
    assert strides == [(1, 1), (1, 1)]
    assert next(pair.original.parameters()).dtype is next(pair.converted.parameters()).dtype is torch.half
    assert pair.inputs(3)[0].dtype is torch.half
    assert pair.inputs(3)[0].shape == (3, 3, 32, 32)
    assert not pair.original.training
    assert pair.report.ch == 8
    with pytest.raises(DeployError, match="as it was saved"):
        ModelPair.of(BenchmarkedModel(str(tmp_path / "saved"), num_classes=3))


def test_a_directory_is_taken_once(tmp_path: Path) -> None:
    taken = BenchmarkedModel.all_of(BenchmarkRequest(models=(str(tmp_path), "resnet18"), ch=(16, 32)))
    assert [(one.model, one.ch) for one in taken] == [
        (str(tmp_path), 16),
        ("resnet18", 16),
        ("resnet18", 32),
    ]


def test_the_users_modules_and_random_numbers_are_left_alone() -> None:
    model = Tiny().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    bench(model, input_size=(16, 16), targets=(), train=True, **{**QUICK, "rounds": 1})
    assert torch.equal(torch.rand(1), wanted)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_what_cannot_be_measured_becomes_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    from kswap.benchmarks import comparing as module

    real = module.optimize_for_inference

    def some(model: nn.Module, **kwargs: Any) -> nn.Module:
        if len(kwargs["example_input"][0]) == 2:
            raise DeployError("too much for this test")
        return real(model, **kwargs)

    monkeypatch.setattr(module, "optimize_for_inference", some)
    found = bench(Tiny(), batches=(1, 2), input_size=(16, 16), **{**QUICK, "rounds": 1})
    assert len(found.rows) == 3
    assert found.notes == ("Tiny Ch=16 eager batch 2 (optimised) could not be measured: too much for this test",)
    assert found.notes[0] in found.remarks()


def test_the_whole_command_in_processes_of_their_own(tmp_path: Path) -> None:
    out = tmp_path / "numbers.json"
    arguments = ["bench", SMALL, "--ch", "16", "--input-size", "32", "--num-classes", "5", "--rounds", "6"]
    result = kswap_(*arguments, "--threads", "1", "--no-autotune", "--format", "md", "--out", str(out))
    assert result.exit_code == 0, result.output
    found = read_benchmark(json.loads(out.read_text()))
    assert [row.setting for row in found.rows] == ["eager", "eager, as converted"]
    assert result.stdout == render_markdown(found)
    assert found.command.startswith(f"kswap bench {SMALL} --ch 16")
    optimised, plain = found.rows
    assert plain.memory_bytes == Memory()
    for peak in (optimised.memory_bytes.original, optimised.memory_bytes.rewritten):
        assert peak is not None
        assert optimised.weights_bytes.converted < peak < 2**28
    if keeping_memory({}):
        assert found.machine.keeps_memory
        assert any("memory is kept between passes" in line for line in found.remarks())


def test_memory_of_a_module_cannot_be_measured_apart() -> None:
    with pytest.raises(DeployError, match="give its name or a saved directory"):
        peak_memory(MemoryRequest(BenchmarkedModel(Tiny()), "original", 1, "eager", 1, {}))


def test_environment_variables_of_the_user_stay() -> None:
    made = keeping_memory({"MALLOC_TOP_PAD_": "7", "HOME": "x"})
    assert (made["MALLOC_TOP_PAD_"], made["HOME"]) == ("7", "x")
    assert releasing_memory(made) == {"MALLOC_TOP_PAD_": "7", "HOME": "x"}


def test_the_machine_is_described() -> None:
    here = Machine.here(threads=1)
    assert here.cpu
    assert here.versions["torch"] == torch.__version__.partition("+")[0]
    assert "1 thread," in here.hardware()
    assert decode(Machine, json.loads(json.dumps(encode(here))), "the machine") == here


@pytest.mark.parametrize(
    "arguments",
    [
        ["--batch", "1", "16", "--targets", "eager", "onnxruntime", "resnet50"],
        ["resnet50", "--batch", "1,16", "--targets", "eager,onnxruntime"],
        ["--batch", "1", "--targets", "eager", "--targets", "onnxruntime", "--batch", "16", "resnet50"],
        ["--batch=1", "16", "--targets=eager", "onnxruntime", "--", "resnet50"],
    ],
)
def test_lists_may_be_written_in_three_ways(asked: list[BenchmarkRequest], arguments: list[str]) -> None:
    result = kswap_("bench", *arguments)
    assert result.exit_code == 0, result.output
    (request,) = asked
    assert request.models == ("resnet50",)
    assert request.batches == (1, 16)
    assert request.targets == ("eager", "onnxruntime")


def test_options_become_the_request(asked: list[BenchmarkRequest]) -> None:
    kswap_("bench", "a", "b", "--ch", "8", "16", "--train", "--no-memory", "--rounds", "9", "--input-size", "32")
    kswap_("bench", "a", "--train", "--targets", "eager")
    first, second = asked
    assert (first.models, first.ch, first.targets, first.train) == (("a", "b"), (8, 16), (), True)
    assert (first.memory, first.rounds, first.input_size, first.batches) == (False, 9, (32, 32), (1,))
    assert (second.targets, second.train, second.memory) == (("eager",), True, True)
    assert first.command == "kswap bench a b --ch 8 16 --train --no-memory --rounds 9 --input-size 32"


def test_the_table_in_a_terminal_has_the_ratio_first(asked: list[BenchmarkRequest], found: Benchmark) -> None:
    result = kswap_("bench", "resnet50")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("Tiny  Ch=16 v2 3x16x16")
    assert lines[2].split()[0] == "ratio"
    assert lines[4].split()[0] == f"{found.rows[0].comparison.ratio:.2f}"
    assert found.rows[0].comparison.verdict in lines[4]
    assert found.machine.date in result.stdout
    assert result.stdout.isascii()


def test_json_is_what_was_found(asked: list[BenchmarkRequest], found: Benchmark) -> None:
    assert read_benchmark(json.loads(kswap_("bench", "resnet50", "--format", "json").stdout)) == found


def test_wrong_arguments_are_one_line() -> None:
    assert "x>=1" in refused("resnet50", "--batch", "1", "0")
    assert "not a valid integer" in refused("resnet50", "--batch", "two")
    assert "not a valid integer" in refused("resnet50", "--batch", "1", "1.5")
    assert "onnxruntim" in refused("--targets", "eager", "onnxruntim", "resnet50")
    assert "is not one of" in refused("resnet50", "--targets", "tensorrt")
    assert "requires an argument" in refused("resnet50", "--batch")
    assert "MODEL_OR_DIR" in refused("--batch", "1")
    assert "is not a size" in refused("resnet50", "--input-size", "big")
    assert "there is no directory" in refused("resnet50", "--out", "nowhere/at/all.json")


def test_no_name_of_a_model_is_taken_for_a_target() -> None:
    from kswap.model_table.table import read_table

    belongs = command.bench.lists["--targets"]
    assert [name for name in read_table() if belongs(name)] == []


def test_the_commands_targets_are_those_that_there_are() -> None:
    (option,) = (option for option in command.bench.params if option.name == "targets")
    assert set(option.type.choices) == {*TARGETS, "all"}


@pytest.mark.parametrize(
    ("request_", "error", "says"),
    [
        (BenchmarkRequest(models=("resnet5",)), ModelError, "unknown model"),
        (BenchmarkRequest(models=(nn.Sequential(nn.Conv2d(3, 8, 3)),), input_size=(32, 32)), PlanError, "no pointwise"),
        (BenchmarkRequest(models=(SMALL,), targets=("egaer",)), DeployError, "eager"),
        (BenchmarkRequest(models=(SMALL,), targets=("cuda",), device="cpu"), DeployError, "cuda|CUDA"),
        (BenchmarkRequest(models=(SMALL,), device="gpu"), ModelError, "unknown device"),
    ],
)
def test_what_cannot_be_done_is_refused_before_measuring(
    request_: BenchmarkRequest, error: type[Exception], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kswap.benchmarks.comparing.interleaved", lambda *_, **__: pytest.fail("it measured"))
    with pytest.raises(error, match=says):
        run_benchmark(request_, progress=False)


def test_without_a_gpu_cuda_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match="no CUDA device"):
        run_benchmark(BenchmarkRequest(models=(SMALL,), device="cuda"), progress=False)


def test_a_directory_that_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SavedError, match="not a directory that kswap saved"):
        run_benchmark(BenchmarkRequest(models=(str(tmp_path),)), progress=False)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"models": ()}, "name a model"),
        ({"targets": ()}, "name a target"),
        ({"batches": (0,)}, "batch must be at least 1"),
        ({"ch": (0,)}, "ch must be at least 1"),
        ({"rounds": 0}, "rounds must be at least 1"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"seconds": 0}, "seconds must be more than 0"),
    ],
)
def test_requests_without_sense_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(DeployError, match=says):
        BenchmarkRequest(**{"models": ("resnet18",), **wrong})


def test_all_means_those_that_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_two(target: Target) -> None:
        if target.name not in ("eager", "openvino"):
            raise DeployError("not here")

    monkeypatch.setattr(Target, "check", only_two)
    assert chosen_targets(["all"], torch.device("cpu")) == ("eager", "openvino")
    with pytest.raises(DeployError, match="not here"):
        chosen_targets(["eager", "inductor"], torch.device("cpu"))


def test_the_csv_has_a_line_per_row_and_plain_columns(found: Benchmark) -> None:
    lines = list(csv.DictReader(io.StringIO(text_of(found, "csv"))))
    assert [line["form"] for line in lines] == [row.form for row in found.rows]
    assert float(lines[0]["ratio"]) == found.rows[0].ratio
    assert int(lines[0]["params.stored"]) == found.rows[0].params.stored
    assert lines[0]["memory_bytes.original"] == ""
    assert not any("{" in cell for line in lines for cell in line.values())


def test_each_option_of_the_command_is_a_field_of_the_request() -> None:
    """One definition: Python's function, the request and the command have the same names and defaults."""
    own = {"models", "device", "trust_source"}
    fields = {field.name for field in dataclasses.fields(BenchmarkRequest)}
    options = {option.name for option in command.bench.params} - {"format_", "out"}
    assert options == fields - {"command"}
    assert own < options
    signature = inspect.signature(bench).parameters
    assert set(signature) == fields | {"progress"}
    assert signature["batches"].default == (1,)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="batch_size"):
        bench("resnet18", batch_size=3)
