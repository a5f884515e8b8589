"""The command line: what it prints, what it writes, and one line with exit status 2 for every mistake."""

from __future__ import annotations

import csv
import importlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from rich.console import Console

from kswap.benchmarks.profile import Profile
from kswap.cli.main import main
from kswap.report.renderers import render

SMALL = "mobilenetv3_small_050"
PAGE = Path(__file__).parents[1] / "data" / "saved_by_0_1_0" / "test_efficientnet" / "report.html"


def kswap(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), prog_name="kswap")


def refused(*arguments: str) -> str:
    """The error line of a command that must be refused: exit status 2, one line, nothing else."""
    result = kswap(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    return lines[0]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cli") / "small"
    result = kswap("convert", SMALL, "--ch", "8", "--num-classes", "10", "--device", "cpu", "--out", str(directory))
    assert result.exit_code == 0, result.output
    return directory


def test_convert_reports_and_saves(saved: Path) -> None:
    assert (saved / "model.safetensors").stat().st_size > 100_000
    result = kswap("report", str(saved))
    assert result.exit_code == 0
    assert SMALL in result.stdout
    assert "drop-in: yes" in result.stdout


def test_json_has_the_keys_that_scripts_rely_on() -> None:
    result = kswap("convert", "efficientnet_b0", "--ch", "16", "--num-classes", "10", "--format", "json")
    data: dict[str, Any] = json.loads(result.stdout)
    assert {
        "kswap",
        "model",
        "scheme",
        "ch",
        "input_size",
        "params",
        "trainable_params",
        "macs",
        "computations",
    } <= set(data)
    assert data["params"] == {"before": 4_020_358, "after": 623_226, "ratio": pytest.approx(0.155018)}
    assert data["input_size"] == [3, 224, 224]
    assert data["drop_in"] is True
    assert [note for note in data["notes"] if "papers/efficientnet_b0" not in note] == []
    sites = {site["name"]: site for site in data["sites"]}
    site = sites["blocks.6.0.conv_pwl"]
    assert site == site | {
        "in_channels": 1152,
        "out_channels": 320,
        "stride": 1,
        "action": "replace",
        "ch": 16,
        "params_before": 369_280,
        "params_after": 11_520,
        "macs_before": 1152 * 320 * 49,
        "macs_after": 10_240 * 49,
        "k": {"groups": 72, "filters_per_group": 4, "extra_groups": 32, "group_width": 16, "replicated": 0},
        "interleave_step": 20,
        "l": {"groups": 20, "filters_per_group": 16, "extra_groups": 0, "group_width": 16, "replicated": 0},
        "norm": "BatchNorm2d",
        "activation": None,
    }
    assert (sites["blocks.1.0.conv_pw"]["action"], sites["blocks.1.0.conv_pw"]["k"]) == ("keep", None)
    assert sites["blocks.1.0.conv_pw"]["reason"] == "16 input channels, needs more than 16"
    assert (sites["conv_head"]["norm"], sites["conv_head"]["activation"]) == ("BatchNorm2d", "SiLU")


@pytest.mark.parametrize(("format_", "start"), [("md", "###"), ("html", "<!doctype html>"), ("csv", "name,")])
def test_other_formats(saved: Path, format_: str, start: str) -> None:
    result = kswap("report", str(saved), "--format", format_)
    assert result.exit_code == 0
    assert result.stdout.lower().lstrip().startswith(start)


def test_csv_has_a_row_a_site(saved: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(kswap("report", str(saved), "--format", "csv").stdout)))
    data = json.loads((saved / "report.json").read_text())
    assert [row["name"] for row in rows] == [site["name"] for site in data["sites"]]


def test_plan_and_dry_run_say_what_convert_does(saved: Path, tmp_path: Path) -> None:
    arguments = (SMALL, "--ch", "8", "--num-classes", "10", "--format", "json")
    planned = json.loads(kswap("plan", *arguments).stdout)
    dry = json.loads(kswap("convert", *arguments, "--dry-run", "--out", str(tmp_path / "new")).stdout)
    made = json.loads((saved / "report.json").read_text())
    origins = [data.pop("provenance") for data in (planned, dry, made)]
    assert made["bytes"]["after"] < made["bytes"]["before"]
    for data in (planned, dry, made):  # only what was built has bytes
        del data["bytes"]
        for site in data["sites"]:
            del site["bytes_before"], site["bytes_after"]
    assert planned == dry == made
    assert origins[0]["rules"] == origins[1]["rules"] == origins[2]["rules"]
    assert origins[0]["model"]["arguments"] == origins[2]["model"]["arguments"] == {"num_classes": 10}
    assert [origin["weights"] for origin in origins[:2]] == [[], []]
    assert not (tmp_path / "new").exists()


def test_a_saved_plan_is_edited_and_replayed(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    assert kswap("plan", SMALL, "--ch", "8", "--save", str(file)).exit_code == 0
    plan = json.loads(file.read_text())
    site = next(s for s in plan["sites"] if s["name"] == "conv_head")
    site["ch"] = 32
    for key in ("k", "l", "interleave_step"):
        del site[key]
    file.write_text(json.dumps(plan))
    result = kswap("convert", SMALL, "--plan", str(file), "--format", "json")
    new = next(s for s in json.loads(result.stdout)["sites"] if s["name"] == "conv_head")
    assert new["k"]["groups"] == -(-288 // 32)


def test_fail_if(tmp_path: Path) -> None:
    out = tmp_path / "out"
    common = ("convert", SMALL, "--ch", "8", "--out", str(out))
    result = kswap(*common, "--fail-if", "params.ratio > 0.2")
    assert result.exit_code == 1
    assert "params.ratio is 0." in result.stderr
    assert not out.exists()
    assert kswap(*common, "--fail-if", "params.ratio > 0.9 or not drop_in").exit_code == 0
    assert out.exists()


def test_diff_of_two_directories(saved: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    kswap("convert", SMALL, "--ch", "16", "--num-classes", "10", "--out", str(other))
    result = kswap("diff", str(saved), str(other), "--format", "json")
    assert result.exit_code == 0
    json.loads(result.stdout)
    text = kswap("diff", str(saved), str(other)).stdout
    assert "8 -> 16" in text
    assert "conv_head" in text
    page = kswap("diff", str(saved), str(other), "--format", "html")
    assert page.exit_code == 0
    assert page.stdout.startswith("<!doctype html>")


def test_layer_explains_table_1() -> None:
    text = kswap("layer", "1152", "320", "--ch", "16").stdout
    assert "10,240" in text
    assert "72" in text
    data = json.loads(kswap("layer", "1152", "320", "--ch", "16", "--format", "json").stdout)
    assert data["weights"] == 10_240
    assert "needs more than 32" in kswap("layer", "24", "16").stdout


def test_models_and_rules() -> None:
    importlib.import_module("kswap.timm")  # what it registers is no model of timm
    rows = json.loads(kswap("models", "efficientnet_b0", "--format", "json").stdout)
    row = next(row for row in rows if row["name"] == "efficientnet_b0")
    assert row["params"] == 5_288_548
    assert row["share"] == pytest.approx(0.7153)
    assert json.loads(kswap("models", "efficientnet_b0", "--refresh", "--format", "json").stdout) == rows
    presets = kswap("rules").stdout
    assert all(name in presets for name in ("keffnet-v1", "keffnet-v2", "no-second-layer", "example-per-site"))
    assert "[[rule]]" in kswap("rules", "example-per-site").stdout


def test_profile_prints_every_step() -> None:
    measured = json.loads(kswap("profile", SMALL, "--ch", "8", "--format", "json").stdout)
    assert (measured["model"], measured["ch"]) == (SMALL, 8)
    assert any("help" in step for step in measured["seconds"])
    assert measured["seconds"]["convert"] > 0


def test_profile_names_its_model() -> None:
    console = Console(file=io.StringIO(), width=80)
    render(Profile("test_vit", 16, {"plan": 0.25}), "rich", console)
    assert "test_vit  Ch=16" in console.file.getvalue()
    assert "plan    0.250" in console.file.getvalue()


MISTAKES = {
    "unknown model": (["convert", "efficientnet_bo"], "did you mean efficientnet_b0"),
    "unknown torchvision model": (["convert", "torchvision/resnet5"], "did you mean"),
    "unknown tag": (["convert", "resnet18.nonsense"], "no pretrained tag 'nonsense'"),
    "ch of 0": (["convert", SMALL, "--ch", "0"], "--ch"),
    "negative ch": (["convert", SMALL, "--ch", "-4"], "--ch"),
    "ch as text": (["convert", SMALL, "--ch", "many"], "not a valid integer"),
    "unknown scheme": (["plan", SMALL, "--scheme", "v3"], "'v3' is not one of"),
    "no pointwise convolutions": (["plan", "vit_tiny_patch16_224"], "no pointwise"),
    "nothing eligible": (["plan", "resnet50", "--ch", "4096"], "use a smaller ch"),
    "wrong channels": (["plan", SMALL, "--input-size", "4,64,64"], "does not run on an input of shape (1, 4, 64, 64)"),
    "a size that is none": (["plan", SMALL, "--input-size", "big"], "is not a size"),
    "unknown device": (["convert", SMALL, "--device", "abacus"], "unknown device 'abacus'"),
    "unknown preset": (["plan", SMALL, "--rules", "keffnet-v3"], "unknown preset"),
    "no such rule file": (["plan", SMALL, "--rules", "./none.toml"], "none.toml"),
    "rules against options": (["plan", SMALL, "--rules", "keffnet-v1", "--scheme", "v2"], "contradicts"),
    "no such plan": (["convert", SMALL, "--plan", "none.json"], "none.json"),
    "unknown condition": (["plan", SMALL, "--fail-if", "parms.ratio > 1"], "params.ratio"),
    "condition that is none": (["plan", SMALL, "--fail-if", "params.ratio >"], "number"),
    "unwritable directory": (["convert", SMALL, "--out", "/proc/kswap"], "cannot be written"),
    "a module without factory": (["plan", "os:nothing"], "no factory 'nothing'"),
    "a file that is none": (["plan", "none.py:net"], "there is no file none.py"),
    "a factory of something else": (["plan", "os:getcwd"], "returned a str"),
    "an unknown builder argument": (["plan", SMALL, "--model-kwarg", "evil=1"], "cannot be built"),
    "a builder argument that is none": (["plan", SMALL, "--model-kwarg", "evil"], "KEY=VALUE"),
    "no directory to report": (["report", "nowhere"], "there is no directory nowhere"),
    "a report that is for reading": (["report", str(PAGE)], "report.json"),
    "a directory of something else": (["report", "/"], "not a directory that kswap saved"),
    "unknown models": (["models", "zzzz"], "no timm model matches 'zzzz'"),
    "unknown command": (["convrt"], "convrt"),
    "unknown option": (["plan", SMALL, "--chanels", "3"], "--chanels"),
    "no model": (["convert"], "MODEL"),
    "layer of 0 channels": (["layer", "0", "4"], "0"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_every_mistake_is_one_line_and_exit_status_2(case: str) -> None:
    arguments, message = MISTAKES[case]
    assert message in refused(*arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_cuda_device() -> None:
    assert "no CUDA device" in refused("convert", SMALL, "--device", "cuda")


def test_existing_directory_needs_force(saved: Path) -> None:
    before = (saved / "plan.json").read_bytes()
    assert "--force" in refused("convert", SMALL, "--ch", "16", "--out", str(saved))
    assert (saved / "plan.json").read_bytes() == before


def test_unreadable_rule_files(tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    file.write_text("[[rule]\n")
    assert "rules.toml" in refused("plan", SMALL, "--rules", str(file))
    file.write_text('[[rule]]\nmatch = {nmae = "x"}\nkeep = true\n')
    assert "name" in refused("plan", SMALL, "--rules", str(file))
    file.write_bytes(b"\xff\xfe")
    assert "rules.toml" in refused("plan", SMALL, "--rules", str(file))
    assert str(tmp_path) in refused("plan", SMALL, "--rules", f"{tmp_path}/")


def test_pretrained_offline_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    line = refused("convert", "resnet18", "--pretrained")
    assert "cannot be fetched without a connection" in line


def test_help_does_not_import_torch() -> None:
    """Help answers at once, because neither torch nor timm nor rich is imported for it."""
    code = (
        "import sys, kswap\n"
        "from kswap.cli.main import main\n"
        "for command in ('', *main.list_commands(None)):\n"
        "    main([command, '--help'] if command else ['--help'], standalone_mode=False)\n"
        "print([m for m in ('torch', 'timm', 'numpy') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_installed_command_finds_its_presets(tmp_path: Path) -> None:
    """From another directory: the presets of the wheel, or of an editable install."""
    command = [sys.executable, "-c", "from kswap.cli.main import run; run()", "rules"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "keffnet-v2" in done.stdout


def test_a_report_to_a_closed_pipe_is_still_saved(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = "from kswap.cli.main import run; run()"
    command = f'"{sys.executable}" -c "{code}" convert {SMALL} --ch 8 --out "{out}" | head -1'
    subprocess.run(["bash", "-c", command], capture_output=True, check=True)
    assert (out / "plan.json").is_file()
