"""Converted models compile with TorchScript where their originals do."""

from __future__ import annotations

import pytest
import torch

import kswap


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("test_efficientnet", {}),
        ("test_resnet", {"scheme": "v1"}),
        ("test_efficientnet", {"kind": "low-rank"}),
        ("test_efficientnet", {"kind": "assigned"}),
        ("test_efficientnet", {"rules": {"placement": "linear"}}),
    ],
    ids=["v2", "v1", "low-rank", "assigned", "linear"],
)
def test_scripted_models_compute_the_same(name: str, options: dict[str, object]) -> None:
    model = kswap.convert(name, ch=4, device="cpu", seed=0, input_size=(32, 32), **options).model.eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.script(model)(x), model(x))
