"""How the command line ends, what it says to a typing error, and that messages name what works there."""

from __future__ import annotations

import inspect
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import kswap as package
from kswap.cli import options
from kswap.cli.examples import EXAMPLES
from kswap.cli.main import main
from kswap.errors import KswapError
from kswap.sources.source import Source

SAVED = Path(__file__).parents[1] / "data" / "saved_by_0_1_0" / "test_efficientnet"
RUN = [sys.executable, "-c", "from kswap.cli.main import run; run()"]


def kswap(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), prog_name="kswap")


def refusal(*arguments: str) -> str:
    """The one line of standard error of a command that ends with status 2."""
    result = kswap(*arguments)
    assert result.exit_code == 2, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    (line,) = result.stderr.splitlines()
    assert len(line) < 400
    return line


def start(*arguments: str, **kwargs: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*RUN, *arguments], stderr=subprocess.PIPE, **kwargs)  # type: ignore[call-overload, no-any-return]


def test_a_typing_error_in_a_command_is_answered_with_the_nearest() -> None:
    assert refusal("convrt") == "Error: No such command 'convrt'; did you mean convert?; see `kswap --help`"
    said = refusal("study", "transfre")
    assert said == "Error: No such study 'transfre'; did you mean transfer?; see `kswap study --help`"
    assert "did you mean" not in refusal("x" * 100_000)


@pytest.mark.parametrize("name", main.list_commands(click.Context(main)))
def test_every_help_has_an_example_that_parses(name: str) -> None:
    text = kswap(name, "--help").stdout
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith(f"kswap {name}")]
    assert lines
    command = main.get_command(click.Context(main), name)
    assert command is not None
    for line in EXAMPLES.get(name, ()):
        words = shlex.split(line)[2:]
        context = command.make_context(name, [str(SAVED) if word in ("small", "smaller") else word for word in words])
        context.close()


def test_ctrl_c_is_130_without_a_traceback(tmp_path: Path) -> None:
    process = start("plan", f"{slow(tmp_path)}:net", cwd=tmp_path)
    wait_for(tmp_path / "started")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.decode().split() == ["stopped"]


def test_a_termination_cleans_up(tmp_path: Path) -> None:
    process = start("plan", f"{slow(tmp_path)}:net", cwd=tmp_path)
    wait_for(tmp_path / "started")
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert (tmp_path / "cleaned").exists()


def slow(directory: Path) -> Path:
    """A file whose factory waits to be stopped."""
    file = directory / "slow.py"
    file.write_text(
        "import time\nfrom pathlib import Path\n"
        "def net():\n"
        "    Path('started').touch()\n"
        "    try: time.sleep(60)\n"
        "    finally: Path('cleaned').touch()\n"
    )
    return file


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("command", [("report", str(SAVED)), ("report", str(SAVED), "--format", "json"), ("--help",)])
def test_a_closed_pipe_is_no_error(command: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = start(*command, stdout=writing)
    os.close(writing)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (0, 141)
    assert errors == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("format_", ["rich", "json"])
def test_a_full_disk_behind_standard_output_is_one_line(format_: str) -> None:
    with Path("/dev/full").open("wb") as full:
        process = start("report", str(SAVED), "--format", format_, stdout=full)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors.decode() == "Error: the output cannot be written: No space left on device\n"


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sys.argv[0] = "kswap"
from kswap.cli.main import run
run()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_weights_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIMITED, "convert", "test_efficientnet", "--ch", "4", "--out", str(tmp_path / "m")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert "cannot be written" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
@pytest.mark.parametrize("to", ["torch-export", pytest.param("onnx", marks=pytest.mark.slow)])
def test_an_export_that_cannot_be_written_is_one_line(tmp_path: Path, to: str) -> None:
    """torch's own writer ends the process when the disk is full."""
    out = tmp_path / f"m{'.pt2' if to == 'torch-export' else '.onnx'}"
    command = [sys.executable, "-c", LIMITED, "export", str(SAVED), "--to", to, "--out", str(out), "--as-is"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 2, done.stderr
    assert "cannot be written" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", ["٣٢", "9" * 5000, "100000", "0", "-3", "3,99999,99999", "1,2,3,4", "²"])
def test_sizes_that_are_none(size: str) -> None:
    assert "--input-size" in refusal("plan", "test_efficientnet", f"--input-size={size}")


@pytest.mark.parametrize("key", ["model", "skip_strides", "pretrained", "ch"])
def test_arguments_that_are_not_of_the_builder(key: str) -> None:
    assert f"{key} is kswap's own" in refusal("plan", "test_efficientnet", "--model-kwarg", f"{key}=1")


def test_all_of_kswaps_own_arguments_are_known() -> None:
    taken: set[str] = set()
    for function in (package.convert, package.plan):
        parameters = inspect.signature(function).parameters.values()
        taken |= {p.name for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD}
    assert taken == options._OWN_ARGUMENTS


@pytest.mark.parametrize("name", ["a" * 300, "a/" * 150, "b" * 100_000, "c" * 300 + ".py:net", ":" * 300])
def test_long_names_of_models(name: str) -> None:
    assert refusal("plan", name).startswith("Error: ")


def test_deep_values_of_arguments() -> None:
    assert "nested too deeply" in refusal("plan", "test_efficientnet", "--model-kwarg", f"a={'[' * 50_000}")


def test_messages_name_the_call_that_works(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def build(): return nn.Sequential(nn.Conv2d(3, 64, 3), nn.Conv2d(64, 64, 1), nn.Conv2d(64, 64, 3))\n"
    )
    out = tmp_path / "n2"
    convert = ("convert", f"{tmp_path}/net.py:build", "--ch", "8", "--out", str(out), "--device", "cpu")
    result = kswap(*convert)
    assert result.exit_code == 0, result.output
    call = f"kswap.load({str(out)!r}, trust_source=True)"
    assert call in result.stderr.replace("\n", "")
    assert eval(call, {"kswap": package}).plan.replaced
    assert "overwrite it with --force" in refusal(*convert)
    conversion = package.load(out, trust_source=True)
    with pytest.raises(KswapError, match="pass force=True to overwrite it"):
        conversion.save(out)
    assert "--trust-source" in kswap("optimize", str(out)).stderr.splitlines()[-1]
    with pytest.raises(KswapError, match="pass trust_source=True"):
        package.load(out)
    assert Source("file", "net.py:build").needs_trust
