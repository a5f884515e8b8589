"""kswap leaves torch's global random state unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import kswap
from kswap.graph.random_state import drawn_seed, preserved_random_state


def convert(**options: object) -> kswap.Conversion:
    return kswap.convert("test_efficientnet", ch=4, input_size=(32, 32), **({"device": "cpu"} | options))


def test_neither_plan_nor_load_nor_a_seeded_conversion_advances_it(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    kswap.plan("test_efficientnet", ch=4, input_size=(32, 32))
    kswap.load(convert(seed=0).save(tmp_path / "m"))
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_seed_one_number_is_drawn() -> None:
    def weights() -> torch.Tensor:
        return next(p for n, p in convert().model.named_parameters() if ".k." in n)

    torch.manual_seed(5)
    first, second = weights(), weights()
    after = torch.get_rng_state()
    assert not torch.equal(first, second)
    torch.manual_seed(5)
    assert torch.equal(weights(), first)
    drawn_seed()
    assert torch.equal(torch.get_rng_state(), after)


def test_it_comes_back_after_an_error() -> None:
    before = torch.get_rng_state()

    def fail() -> None:
        with preserved_random_state(1):
            torch.rand(3)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_generators_of_gpus_come_back_as_well() -> None:
    torch.rand(1, device="cuda")
    before = torch.cuda.get_rng_state_all()
    convert(seed=0, device="cuda")
    with preserved_random_state(1):
        first = torch.rand(3, device="cuda")
    with preserved_random_state(1):
        assert torch.equal(torch.rand(3, device="cuda"), first)
    assert all(map(torch.equal, torch.cuda.get_rng_state_all(), before))
