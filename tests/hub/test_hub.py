"""Push, pull and load over a stand-in for the Hub: what is sent and fetched, what is refused, and in which words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
import yaml
from click.testing import CliRunner, Result
from hub_fixture import FakeHub, installed
from torch import nn

import kswap
from kswap.cli.main import main
from kswap.errors import HubError, KswapError, SavedError
from kswap.hub.pull import pull
from kswap.hub.push import push
from kswap.saved.files import FILES

REPO = "ann/small"
OLD = Path(__file__).parents[1] / "data" / "saved_by_0_1_0" / "test_efficientnet"
PICTURE = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def conversion() -> kswap.Conversion:
    return kswap.convert("test_resnet", ch=8, num_classes=3, input_size=(32, 32), device="cpu", seed=0)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    return installed(tmp_path / "hub", monkeypatch)


@pytest.fixture
def saved(conversion: kswap.Conversion, tmp_path: Path) -> Path:
    return conversion.save(tmp_path / "saved")


def command(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="kswap")


def same(one: nn.Module, other: nn.Module) -> bool:
    return torch.equal(one.eval()(PICTURE), other.eval()(PICTURE))


def card_of(files: Path) -> tuple[dict[str, object], str]:
    _, head, body = (files / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(head), body


def test_what_is_pushed_is_loaded(conversion: kswap.Conversion, hub: FakeHub) -> None:
    pushed = conversion.push_to_hub(REPO)
    assert pushed.url == "https://hub.test/ann/small"
    assert sorted(path.name for path in hub.files(REPO).iterdir()) == sorted([*FILES, "README.md"])
    loaded = kswap.load(f"hf-hub:{REPO}")
    assert same(loaded.model, conversion.model)
    assert loaded.report.params == conversion.report.params
    assert same(kswap.load(str(pushed.address)).model, conversion.model)
    assert "README.md" not in hub.downloads


def test_the_card(conversion: kswap.Conversion, hub: FakeHub) -> None:
    conversion.push_to_hub(REPO, license="apache-2.0", base_model="timm/test_resnet.r160_in1k")
    head, body = card_of(hub.files(REPO))
    assert head["library_name"] == "kswap"
    assert head["license"] == "apache-2.0"
    assert head["base_model"] == "timm/test_resnet.r160_in1k"
    assert f"| parameters | {conversion.report.params.before:,} | **{conversion.report.params.after:,}** |" in body
    assert "model = kswap.load('hf-hub:ann/small').model  # in eval mode" in body
    assert "Blocks: fresh, seed 0." in body
    assert "Accuracy was not measured." in body


def test_a_card_without_published_weights_claims_neither_licence_nor_base(
    conversion: kswap.Conversion, hub: FakeHub
) -> None:
    conversion.push_to_hub(REPO)
    head, _ = card_of(hub.files(REPO))
    assert "license" not in head
    assert "base_model" not in head


def test_licence_and_base_model_of_published_weights(conversion: kswap.Conversion, saved: Path, hub: FakeHub) -> None:
    report = json.loads((saved / "report.json").read_text())
    report["provenance"]["model"]["weights"] = "published"
    report["projection"] = {
        "images": 8,
        "seed": 0,
        "seconds": 1.0,
        "sites": [],
        "accuracies": [{"stage": "distilled", "top1": 0.75, "images": 400, "data": "pic|tures"}],
    }
    (saved / "report.json").write_text(json.dumps(report))
    push(saved, REPO)
    head, body = card_of(hub.files(REPO))
    assert head["license"] == "apache-2.0"
    assert head["base_model"] == "timm/test_resnet.r160_in1k"
    assert head["metrics"] == ["accuracy"]
    assert "| distilled | 75.0% | 2.2% | 400 | pic\\|tures |" in body


def test_the_base_model_of_transformers(hub: FakeHub) -> None:
    config = transformers.ResNetConfig(embedding_size=32, hidden_sizes=[64, 128], depths=[1, 1], num_labels=3)
    original = transformers.ResNetForImageClassification(config)
    original.config._name_or_path = "ann/resnet"
    kswap.convert(original, ch=8, input_size=(32, 32)).push_to_hub(REPO)
    head, body = card_of(hub.files(REPO))
    assert head["base_model"] == "ann/resnet"
    assert "kswap.load('hf-hub:ann/small', model=...)" in body
    loaded = kswap.load(f"hf-hub:{REPO}", model=original).model
    assert torch.isfinite(loaded(PICTURE).logits).all()


def test_a_directory_of_kswap_0_1_0_has_a_card_too(hub: FakeHub) -> None:
    push(OLD, REPO)
    assert "Where they come from is not recorded" in card_of(hub.files(REPO))[1]


def test_revisions_are_pinned(conversion: kswap.Conversion, saved: Path, tmp_path: Path, hub: FakeHub) -> None:
    first = conversion.push_to_hub(REPO)
    other = kswap.convert("test_resnet", ch=4, num_classes=3, input_size=(32, 32), device="cpu", seed=1)
    other.push_to_hub(REPO, message="Smaller groups")
    push(saved, REPO, revision="v1")
    assert hub.messages == ["Push a model that kswap converted", "Smaller groups", "Push a model that kswap converted"]
    assert same(kswap.load(f"hf-hub:{REPO}").model, other.model)
    assert same(kswap.load(f"hf-hub:{REPO}@{first.address.revision}").model, conversion.model)
    assert same(kswap.load(f"hf-hub:{REPO}@v1").model, conversion.model)
    pulled = pull(REPO, tmp_path / "pulled", revision="v1")
    assert pulled.address.revision == hub.branches[REPO, "v1"]


def test_only_files_of_known_names_are_fetched(conversion: kswap.Conversion, tmp_path: Path, hub: FakeHub) -> None:
    conversion.push_to_hub(REPO)
    for name in ("evil.py", "pytorch_model.bin", "optimized.json"):
        (hub.files(REPO) / name).write_text("import os")
    out = pull(f"hf-hub:{REPO}", tmp_path / "out").directory
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    assert set(hub.downloads) == set(FILES)
    assert not any(path.is_symlink() for path in out.iterdir())
    assert same(kswap.load(out).model, conversion.model)


def test_without_a_connection_the_cache_serves(conversion: kswap.Conversion, hub: FakeHub) -> None:
    conversion.push_to_hub(REPO)
    kswap.load(f"hf-hub:{REPO}")
    hub.online = False
    assert same(kswap.load(f"hf-hub:{REPO}").model, conversion.model)
    with pytest.raises(HubError, match="the Hub cannot be reached for hf-hub:ann/other, and it was not fetched before"):
        kswap.load("hf-hub:ann/other")


def test_the_command_line(saved: Path, conversion: kswap.Conversion, tmp_path: Path, hub: FakeHub) -> None:
    done = command("push", saved, REPO, "--private", "--license", "mit")
    assert done.exit_code == 0, done.output
    assert f"pushed to https://hub.test/ann/small: load it with kswap.load('hf-hub:{REPO}@" in done.stderr
    assert hub.private[REPO]
    done = command("pull", f"hf-hub:{REPO}", "--out", tmp_path / "pulled")
    assert done.exit_code == 0, done.output
    assert f"hf-hub:{REPO}@{hub.branches[REPO, 'main']} is in {tmp_path}/pulled" in done.stderr
    assert same(kswap.load(tmp_path / "pulled").model, conversion.model)


def test_a_card_of_the_users_own_stays(saved: Path, hub: FakeHub) -> None:
    push(saved, REPO)
    (hub.files(REPO) / "README.md").write_text("mine")
    push(saved, REPO, keep_card=True)
    assert (hub.files(REPO) / "README.md").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["push", "{saved}", "small"], "'small' names no owner: write owner/name"),
        (["push", "{saved}", "ann/sm all"], "'ann/sm all' is no name of a repository: write owner/name"),
        (["push", "{saved}", "../../etc"], "'../../etc' is no name of a repository"),
        (["push", "{saved}", "ann/small", "--license", "a\nb"], r"'a\nb' is no license"),
        (["push", "{saved}/nowhere", "ann/small"], "there is no directory"),
        (["push", "{saved}", "ann/public", "--private"], "ann/public exists already and is public"),
        (["pull", "hf-hub:ann/none", "--out", "{out}"], "there is no hf-hub:ann/none, or it is private"),
        (["pull", "hf-hub:ann/public@v9", "--out", "{out}"], "ann/public has no revision v9: name a branch, tag or"),
        (["pull", "hf-hub:ann/public@v9", "--revision", "v1", "--out", "{out}"], "contradict each other"),
        (["pull", "hf-hub:ann/public@a..b", "--out", "{out}"], "'a..b' is no revision"),
        (["pull", "hf-hub:ann/empty", "--out", "{out}"], "hf-hub:ann/empty is no model that kswap pushed: it has no p"),
        (["pull", "hf-hub:ann/public", "--out", "{saved}"], "exists already: choose another directory, or overwrite"),
    ],
)
def test_mistakes(arguments: list[str], says: str, saved: Path, tmp_path: Path, hub: FakeHub) -> None:
    push(saved, "ann/public")
    (hub.root / "ann--empty" / "c0").mkdir(parents=True)
    hub.private["ann/empty"], hub.branches["ann/empty", "main"] = False, "c0"
    commits = len(hub.messages)
    done = command(*(argument.format(saved=saved, out=tmp_path / "out") for argument in arguments))
    assert done.exit_code == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert len(hub.messages) == commits
    assert not (tmp_path / "out").exists()


def test_no_rights_and_no_connection(saved: Path, hub: FakeHub) -> None:
    hub.may_write = False
    done = command("push", saved, REPO)
    assert done.exit_code == 2
    assert "the Hub refuses access to hf-hub:ann/small (403): use a token with that right; set HF_TOKEN" in done.stderr
    hub.online = False
    done = command("push", saved, REPO)
    assert done.exit_code == 2
    assert "the Hub cannot be reached for hf-hub:ann/small: go online, or check HF_ENDPOINT and proxies" in done.stderr


@pytest.mark.parametrize(("name", "size"), [("plan.json", 2**40), ("model.safetensors", 2**45), ("report.md", None)])
def test_sizes_are_bounded_before_anything_is_fetched(
    name: str, size: int | None, saved: Path, tmp_path: Path, hub: FakeHub
) -> None:
    push(saved, REPO)
    hub.sizes[name] = size
    with pytest.raises(HubError, match=f"{name} of hf-hub:ann/small is too large"):
        pull(REPO, tmp_path / "out")
    assert hub.downloads == []


def test_weights_that_are_not_those_of_the_plan(saved: Path, tmp_path: Path, hub: FakeHub) -> None:
    push(saved, REPO)
    weights = hub.files(REPO) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x00")
    (hub.files(REPO) / "model.safetensors").open("ab").write(b"x")
    with pytest.raises(SavedError, match="damaged: its weights are not those of its plan"):
        pull(REPO, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(KswapError, match=r"hf-hub:ann/small/model.safetensors is not the file that was saved"):
        kswap.load(f"hf-hub:{REPO}")


def test_the_users_own_code_runs_only_when_trusted(
    tmp_path: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(
        "from torch import nn\ndef net():\n"
        "    return nn.Sequential(nn.Conv2d(3, 64, 3), nn.Conv2d(64, 64, 1), nn.Conv2d(64, 5, 3))\n"
    )
    made = kswap.convert("net.py:net", ch=8, input_size=(32, 32), device="cpu")
    made.push_to_hub(REPO)
    assert "kswap.load('hf-hub:ann/small', trust_source=True)" in card_of(hub.files(REPO))[1]
    with pytest.raises(SavedError, match=r"loading hf-hub:ann/small@?\S* would run .*net\.py:net"):
        kswap.load(f"hf-hub:{REPO}")
    assert same(kswap.load(f"hf-hub:{REPO}", trust_source=True).model, made.model)
