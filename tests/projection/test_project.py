"""convert(init="project"): blocks take over what the trained layers do."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

import kswap
from kswap.conversion import convert
from kswap.errors import DataError, ModelError
from kswap.graph.observe import observe
from kswap.graph.splice import splice_
from kswap.projection.calibration import Calibration
from kswap.projection.project import project_


def trained(name: str = "test_efficientnet") -> nn.Module:
    """A network whose norms have statistics, as after training."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=5).train()
    with torch.no_grad():
        for _ in range(4):
            model(samples(16))
    return model.eval()


def samples(count: int, seed: int = 0) -> Tensor:
    """Smooth pictures, so that channels go together as they do in real ones."""
    generator = torch.Generator().manual_seed(seed)
    return nn.functional.interpolate(torch.randn(count, 3, 6, 6, generator=generator), size=(48, 48), mode="bilinear")


def difference(model: nn.Module, other: nn.Module) -> float:
    """Mean square of the difference of the outputs on new samples, relative to that of the second."""
    x = samples(32, seed=1)
    with torch.no_grad():
        ours, theirs = model.eval()(x), other.eval()(x)
    return float((ours - theirs).square().mean() / theirs.square().mean())


def test_projected_blocks_come_nearer_than_fresh_ones_and_say_how_near() -> None:
    model = trained()
    fitted = kswap.convert(model, ch=8, init="project", calibration=samples(64), input_size=(48, 48), seed=0)
    fresh = kswap.convert(model, ch=8, input_size=(48, 48), seed=0, placement="linear")
    assert fitted.report.params == fresh.report.params
    assert difference(fitted.model, model) < 0.5 * difference(fresh.model, model)
    record = fitted.report.projection
    assert record is not None
    assert record.images == 64
    assert {site.name for site in record.sites} == {site.name for site in fitted.plan.replaced}
    assert all(site.placement == "linear" for site in fitted.plan.replaced)
    assert 0 < record.mean_error < 1


def test_a_network_of_low_rank_is_taken_over_exactly() -> None:
    model = trained()
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
            left, values, right = torch.linalg.svd(module.weight.data[:, :, 0, 0], full_matrices=False)
            module.weight.data = (left[:, :3] * values[:3] @ right[:3])[:, :, None, None]
    arguments = {"kind": "low-rank", "rank": 3, "input_size": (48, 48)}
    conversion = kswap.convert(model, init="project", calibration=samples(64), **arguments)
    assert len(conversion.plan.replaced) > 8
    assert max(site.error for site in conversion.report.projection.sites) < 1e-6
    assert difference(conversion.model, model) < 1e-6


def test_the_same_seed_gives_the_same_weights() -> None:
    model = trained()
    arguments = {"ch": 8, "init": "project", "calibration": samples(32), "input_size": (48, 48), "seed": 3}
    first, second = (kswap.convert(model, **arguments).model.state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_the_argument_is_unchanged() -> None:
    model = trained()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    kswap.convert(model, ch=8, init="project", calibration=samples(8), input_size=(48, 48))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training


def test_memory_bounds_change_no_weight() -> None:
    model = trained()
    planned = kswap.plan(model, ch=8, input_size=(48, 48), init="project")
    calls = {name: ran.calls for name, ran in observe(model, samples(1)).records.items()}
    states = []
    for most_kept in (2**30, 0):
        converted = trained()
        replacements = splice_(converted, planned)
        project_(converted, model, planned, replacements, calls, Calibration.of(samples(32)), most_kept=most_kept)
        states.append(converted.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=1e-4, atol=1e-5)


def test_a_projected_network_is_saved_with_its_errors(tmp_path: Path) -> None:
    model = trained()
    conversion = kswap.convert(model, ch=8, init="project", calibration=samples(16), input_size=(48, 48))
    loaded = kswap.load(conversion.save(tmp_path / "saved"), model=trained())
    assert loaded.report.projection == conversion.report.projection
    x = samples(2)
    with torch.no_grad():
        assert torch.equal(loaded.model.eval()(x), conversion.model.eval()(x))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"init": "project"}, "pass calibration= about 300 unlabelled"),
        ({"calibration": torch.zeros(1, 3, 48, 48)}, 'pass init="project" as well'),
        ({"init": "project", "calibration": "no/such/folder"}, "no/such/folder"),
    ],
)
def test_what_is_missing_is_said(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        convert(trained(), input_size=(48, 48), **arguments)


def test_a_named_model_with_fresh_weights_is_refused() -> None:
    with pytest.raises(ModelError, match=r"fresh weights.*pretrained=True or weights=FILE"):
        convert("test_efficientnet", init="project", calibration=samples(4), input_size=(48, 48))


def test_blocks_with_norm_and_activation_inside_start_from_the_trained_layers_too() -> None:
    model = trained()
    arguments = {"ch": 8, "placement": "absorbed", "input_size": (48, 48), "seed": 0}
    fitted = kswap.convert(model, init="project", calibration=samples(64), **arguments)
    fresh = kswap.convert(model, **arguments)
    assert any(site.absorbs_norm and site.absorbs_activation for site in fitted.plan.replaced)
    assert difference(fitted.model, model) < 0.5 * difference(fresh.model, model)
    fitted.model.train()(samples(2)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in fitted.model.named_parameters() if "l." in n)
