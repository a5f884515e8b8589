"""One table of activations: torch's classes, Keras' names and the papers' count follow it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kswap.errors import PlanError
from kswap.graph.observe import observe
from kswap.nn.norms_and_activations import ACTIVATION_CLASSES, is_activation
from kswap.planner.activations import ACTIVATIONS, Activation, from_keras


def test_every_activation_has_a_class_and_every_class_is_in_the_table() -> None:
    assert list(ACTIVATION_CLASSES) == list(ACTIVATIONS)
    assert all(name == activation.name for name, activation in ACTIVATIONS.items())
    assert [name for name, made in ACTIVATION_CLASSES.items() if not is_activation(made())] == ["identity"]


IN_PLACE = [name for name, made in ACTIVATION_CLASSES.items() if hasattr(made(), "inplace")]


@pytest.mark.parametrize(
    ("name", "inplace"), [*((name, False) for name in ACTIVATIONS), *((name, True) for name in IN_PLACE)]
)
def test_a_run_counts_what_the_table_says(name: str, inplace: bool) -> None:
    """The closed form of a plan uses the table; what is observed in a run has to be the same."""
    activation = ACTIVATION_CLASSES[name]()
    if inplace:
        activation.inplace = True
    found = observe(nn.Sequential(nn.BatchNorm2d(3), activation), (torch.zeros(1, 3, 4, 5),))
    assert found.total.operations == ACTIVATIONS[name].operations * 60


def test_keras_names_are_unambiguous_and_in_the_spelling_that_is_looked_up() -> None:
    names = [name for activation in ACTIVATIONS.values() for name in activation.keras_names]
    assert len(names) == len(set(names))
    assert all(from_keras(name) for name in names)
    assert from_keras("Hard_Sigmoid") == "hard_sigmoid"
    assert from_keras("softmax") is None


def test_an_entry_validates_itself() -> None:
    with pytest.raises(PlanError, match="needs a name"):
        Activation("", 1)
    with pytest.raises(PlanError, match="not negative"):
        Activation("mish", -1)
