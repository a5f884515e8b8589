"""The sweep over timm: a sample in the usual run, all models with ``pytest -m slow tests/test_sweep.py``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import kswap
from kswap.cli.main import main
from kswap.coverage import check as checking
from kswap.coverage.check import check
from kswap.coverage.compare import Counterparts, MismatchError, structure
from kswap.coverage.drop_in import differences
from kswap.coverage.pool import sweep
from kswap.coverage.sizes import smallest_size
from kswap.coverage.worker import Limits, Worker
from kswap.errors import ModelError
from kswap.model_table.sweep_row import YES, SweepRow, append_row, read_rows, to_csv
from kswap.model_table.table import ModelRow, merged, read_table, write_table
from kswap.sources.builders import build
from kswap.sources.inputs import input_size_of
from kswap.sources.source import Source

SAMPLE = (
    "test_resnet",
    "test_efficientnet",
    "test_efficientnet_evos",
    "test_byobnet",
    "test_nfnet",
    "regnetx_002",
    "starnet_s050",
    "convnext_zepto_rms",
)


def kswap_(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, arguments)
    return result.exit_code, result.output


@pytest.mark.parametrize("name", SAMPLE)
def test_a_model_passes(name: str) -> None:
    row = check(name)
    assert row.passed, row
    assert row.checked.startswith("real")
    assert row.saved == "yes"
    assert row.drop_in == "yes"
    assert row.features_only == "yes"
    assert 0 < row.params_after < row.params_before
    assert row.macs_after < row.macs_before
    assert row.replaced + row.kept == read_table()[name].pointwise_convolutions


def test_a_large_model_is_checked_without_weights() -> None:
    row = check("vgg11")
    assert row.passed, row
    assert row.checked == "meta"
    assert row.params_before > 100_000_000
    assert "nothing to replace" in row.features_only
    assert row.input_size == "3x224x224"


def test_a_model_with_nothing_eligible_has_a_reason() -> None:
    row = check("test_resnet", ch=512)
    assert row.passed, row
    assert "use a smaller ch" in row.note
    assert (row.replaced, row.kept) == (0, 5)
    assert row.params_after == row.params_before
    assert row.checked == "nothing"


def test_an_unknown_model_is_a_row_too() -> None:
    row = check("no_such_model")
    assert row.error.startswith("build: ModelError: unknown model")
    assert not row.passed


def test_a_fault_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversion that forgets what it saved, and one whose blocks get no gradients, do not pass."""

    def forgets(self: kswap.Conversion, directory: str) -> str:
        raise kswap.KswapError("it is lost")

    with monkeypatch.context() as patched:
        patched.setattr(kswap.Conversion, "save", forgets)
        assert check("test_resnet").error == "save and load: KswapError: it is lost"
    with monkeypatch.context() as patched:
        patched.setattr(checking, "backward", lambda output: None)
        assert "gets no finite gradient" in check("test_resnet").error


class Two(nn.Module):
    """A model with some of timm's methods, and one that differs by ``offset``."""

    def __init__(self, offset: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.num_classes = 4 + offset
        self.offset = offset

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)[:, self.offset :]

    def get_classifier(self) -> nn.Module:
        if self.offset:
            raise RuntimeError("it is gone")
        return self.conv


def test_methods_that_differ_are_named() -> None:
    source = Source("module", "Two")
    with torch.device("meta"):
        original = Two()
    assert differences(Counterparts(source, original, Two(), (3, 8, 8)), ()) == []
    assert differences(Counterparts(source, original, Two(offset=1), (3, 8, 8)), ()) == [
        "num_classes differs",
        "forward_features: MismatchError: returns [(2, 3, 8, 8)], the original [(2, 4, 8, 8)]",
        "get_classifier: RuntimeError: it is gone",
    ]


def test_structures_are_compared_with_their_nesting() -> None:
    one, two = torch.zeros(2, 3), torch.zeros(2, 4)
    assert structure([one, {"a": two}]) == structure([one + 1, {"a": two + 1}])
    assert structure([one, {"a": two}]) != structure((one, {"a": two}))
    assert structure([one, {"a": two}]) != structure([one, {"b": two}])
    assert structure(one) != structure(two)
    with pytest.raises(MismatchError, match="the original"):
        Counterparts(Source("module", "Two"), Two(), Two(1), (3, 8, 8)).check_same(
            lambda model, x: model.forward_features(x)
        )


def test_the_smallest_input_that_a_model_takes() -> None:
    def size(name: str) -> tuple[int, ...]:
        model = build(Source("timm", name), meta=True).eval()
        return smallest_size(model, input_size_of(model))

    assert size("test_resnet") == (3, 64, 64)
    assert size("inception_v3") == (3, 96, 96)
    assert size("test_maxvit") == (3, 160, 160)


def test_models_run_in_a_process_of_their_own() -> None:
    rows = {row.model: row for row in sweep(["test_resnet", "no_such_model"], limits=Limits())}
    assert rows["test_resnet"].passed
    assert not rows["no_such_model"].passed


def test_a_process_that_hangs_or_dies_does_not_end_the_sweep() -> None:
    worker = Worker(16, Limits(seconds=0.01))
    row = worker.check("test_resnet")
    assert row.error == "not done after 0.01 seconds"
    worker = Worker(16, Limits(gib=0.05))
    row = worker.check("test_resnet")
    assert row.error
    worker.stop()


def test_the_command_writes_rows_and_resumes(tmp_path: Path) -> None:
    out = tmp_path / "sweep.csv"
    code, text = kswap_("sweep", "test_[br]*net", "--out", str(out), "--minutes", "0")
    assert (code, "1 of 2 models" in text, list(read_rows(out))) == (0, True, ["test_byobnet"])
    out.unlink()
    append_row(out, SweepRow("test_byobnet", 1, error="it crashed"))
    append_row(out, SweepRow("test_resnet", 10, 5))
    code, text = kswap_("sweep", "test_[br]*net", "--out", str(out))
    assert (code, "exists already" in text) == (2, True)
    code, text = kswap_("sweep", "test_[br]*net", "--out", str(out), "--resume")
    assert (code, "2 of 2 models" in text, "1 with faults" in text) == (1, True, True)
    code, text = kswap_("sweep", "test_[br]*net", "--out", str(out), "--resume", "--again")
    assert (code, "0 with faults" in text) == (0, True)
    rows = read_rows(out)
    assert rows["test_resnet"].params_before == 10
    assert rows["test_byobnet"].params_before == 456_856
    code, text = kswap_("models", "test_byobnet", "--sweep", str(out), "--format", "csv")
    assert read_table(text)["test_byobnet"].sweep == rows["test_byobnet"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,params\n", "is not the CSV of a sweep"),
        ("model,params_after\na,x\n", "must be a whole number"),
        ("", "is not"),
    ],
)
def test_a_foreign_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "other.csv"
    path.write_text(text)
    with pytest.raises(ModelError, match=message):
        read_rows(path)
    assert kswap_("models", "test_resnet", "--sweep", str(path))[0] == 2


ROWS = (SweepRow("a", 100, 70, path="fx"), SweepRow("b", 200, 90, error='it said "no, no"'))


@pytest.mark.parametrize("lost", [1, 2, 9, len(to_csv(ROWS[1:], header=False))])
def test_a_torn_last_line_is_not_done_and_the_next_row_is_not_glued_to_it(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "sweep.csv"
    for row in ROWS:
        append_row(path, row)
    path.write_bytes(path.read_bytes()[:-lost])
    assert read_rows(path) == {"a": ROWS[0]}
    append_row(path, ROWS[1])
    assert path.read_text(encoding="utf-8") == to_csv(ROWS)
    assert list(read_rows(path).values()) == list(ROWS)


@pytest.mark.parametrize("kept", [0, 5, len(to_csv(())) - 1])
def test_a_sweep_that_was_killed_in_its_header_begins_anew(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "sweep.csv"
    path.write_text(to_csv(())[:kept])
    assert read_rows(path, resuming=True) == {}
    with pytest.raises(ModelError, match="is not the CSV of a sweep"):
        read_rows(path)
    append_row(path, ROWS[0])
    assert read_rows(path) == {"a": ROWS[0]}


@pytest.mark.parametrize("line", ["a,1,2,a", to_csv(ROWS[:1], header=False).strip() + "b,1", '"a'])
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "sweep.csv"
    path.write_text(f"{to_csv(ROWS)}{line}\n")
    with pytest.raises(ModelError, match=r"line 4 of .*delete that line"):
        read_rows(path)


def test_pipes_and_devices_are_no_sweep(tmp_path: Path) -> None:
    """The first would be waited for, the second has no end."""
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (tmp_path / "pipe.csv", Path("/dev/zero")):
        code, text = kswap_("sweep", "test_resnet", "--out", str(path), "--resume")
        assert (code, "is not a plain file" in text) == (2, True)


def in_a_process(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """``kswap sweep`` as the leader of a process group."""
    code = "from kswap.cli.main import run; run()"
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code, "sweep", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.skipif(os.name != "posix", reason="process groups")
def test_ctrl_c_ends_the_sweep_and_its_processes_without_a_traceback(tmp_path: Path) -> None:
    """A terminal sends the signal to the whole group."""
    out = tmp_path / "sweep.csv"
    process = in_a_process("test_*", "--out", str(out), cwd=tmp_path)
    while not (out.exists() and out.read_text().count("\n") > 1):
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    errors = process.communicate(timeout=30)[1]
    assert process.returncode != 0
    assert "Traceback" not in errors
    assert "KeyboardInterrupt" not in errors


def test_modules_of_the_current_directory_are_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("signal", "kswap", "runpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    worker = Worker(16, Limits())
    assert worker.check("no_such_model").error.startswith("build: ModelError: unknown model")
    worker.stop()


def test_the_table_takes_in_a_sweep() -> None:
    table = {"a": ModelRow("a", 100, 40, 2), "b": ModelRow("b", 10, 0, 0)}
    found = merged(table, {"a": SweepRow("a", 100, 70, path="fx", drop_in="no: it is late", note='a, "b"')})
    assert found["b"].sweep is None
    again = read_table(write_table(found.values()))
    assert again == found
    assert again["a"].sweep is not None
    assert not again["a"].sweep.passed


def test_the_table_that_comes_with_kswap_is_whole() -> None:
    """Every timm model is counted; what was swept agrees with what was counted."""
    table = read_table()
    assert len(table) > 1300
    for name, row in table.items():
        if row.sweep is not None:
            assert row.sweep.params_before == row.params, name
            assert row.pointwise_convolutions, name
            if not row.sweep.error:
                assert row.sweep.replaced + row.sweep.kept >= row.pointwise_convolutions, name
    swept = [row.sweep for row in table.values() if row.pointwise_convolutions]
    assert len(swept) > 830
    assert all(row is not None and row.passed and row.drop_in == YES for row in swept)


@pytest.mark.slow
def test_every_timm_model_with_pointwise_convolutions(tmp_path: Path) -> None:
    """Takes more than an hour on one core. KSWAP_SWEEP names a CSV to resume, and to look at."""
    out = Path(os.environ.get("KSWAP_SWEEP", tmp_path / "sweep.csv"))
    code, text = kswap_("sweep", "--out", str(out), *(["--resume", "--again"] if out.exists() else []))
    failed = [row for row in read_rows(out).values() if not row.passed]
    assert code == 0, f"{text[-500:]}{failed}"
