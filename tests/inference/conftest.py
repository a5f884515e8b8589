"""What the tests of inference share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from kswap.inference import block_tuning
from kswap.inference.candidates import Candidates
from kswap.nn.implementation import Implementation


@pytest.fixture(autouse=True)
def threads_as_they_were() -> Iterator[None]:
    """A prepared pass sets the threads of the process; other tests compare bit for bit with a fresh process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure few implementations, few times: which one is taken does not matter here."""
    shortlist = Candidates.shortlist

    def shorter(self: Candidates, target: str, most: int) -> tuple[Implementation, ...]:
        return shortlist(self, target, min(most, 3))

    monkeypatch.setattr(Candidates, "shortlist", shorter)
    monkeypatch.setattr(block_tuning, "_SECONDS", 0.005)
