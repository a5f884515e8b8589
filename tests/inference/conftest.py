"""What the tests of inference share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from kswap.inference import block_tuning


@pytest.fixture(autouse=True)
def threads_as_they_were() -> Iterator[None]:
    """A prepared pass sets the threads of the process; other tests compare bit for bit with a fresh process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure a few times only: which implementation is taken does not matter here."""
    monkeypatch.setattr(block_tuning, "_SECONDS", 0.005)
    monkeypatch.setattr(block_tuning, "_MOST_FORMS_ELSE", 3)
