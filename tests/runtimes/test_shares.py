"""Which share of a pass some layers take, in the runtimes that tell; never how large it is on this machine."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from kswap.errors import DeployError
from kswap.runtimes.onnx_graph import onnx_graph
from kswap.runtimes.onnx_marks import mark_
from kswap.runtimes.shares import share_of_marked, share_of_modules
from kswap.runtimes.targets import TARGETS

TELLING = [name for name, target in TARGETS.items() if target.share_of is not None and target.device == "cpu"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kswap.runtimes.shares.SECONDS", 0.01)


class Heavy(nn.Module):
    """Two layers that take nearly all of the time, each with an activation of another kind, and little else."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(64, 512, 1)
        self.second = nn.Conv2d(512, 64, 1)
        self.light = nn.Conv2d(64, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(x))
        y = torch.nn.functional.silu(self.second(y))
        z: Tensor = self.light(y)
        return z


@pytest.mark.parametrize("target", TELLING)
def test_the_share_is_that_of_the_layers_that_were_asked_for(target: str) -> None:
    model, x = Heavy().eval(), torch.randn(1, 64, 24, 24)
    share_of = TARGETS[target].share_of
    assert share_of is not None
    with TARGETS[target].settings(1):
        heavy = share_of(model, (x,), ["first", "second"], 1)
        light = share_of(model, (x,), ["light"], 1)
    assert 0.5 < heavy < 1
    assert 0 < light < 0.4


@pytest.mark.parametrize("target", TELLING)
def test_a_layer_that_is_not_found_is_no_number(target: str) -> None:
    share_of = TARGETS[target].share_of
    assert share_of is not None
    with pytest.raises(DeployError, match=r"1 of (the )?2 .*layers"):
        share_of(Heavy().eval(), (torch.randn(1, 64, 8, 8),), ["first", "third"], 1)


def test_those_that_do_not_tell_say_why() -> None:
    assert {name: target.no_share for name, target in TARGETS.items() if target.share_of is None} == {
        "inductor": "its kernels go across layers",
        "executorch": "its packages for Python are built without the tracer of events",
    }


def test_marks_are_names_of_nodes_and_of_what_they_return() -> None:
    graph = onnx_graph(Heavy().eval(), (torch.randn(1, 64, 8, 8),), quick=True)
    assert mark_(graph, ["first", "second", "light"]) == [f"replaced_layer_{number}_" for number in range(3)]
    nodes = {node.name: node for node in graph.graph.node}
    first, second, light = (nodes[f"replaced_layer_{number}_"] for number in range(3))
    assert first.output == ["replaced_layer_0_"]
    (relu,) = (node for node in graph.graph.node if node.op_type == "Relu")
    assert (list(relu.input), list(relu.output)) == (["replaced_layer_0_"], ["replaced_layer_0_activation"])
    assert second.input[0] == "replaced_layer_0_activation"
    # A sigmoid of what another operator reads too is fused nowhere.
    (sigmoid,) = (node for node in graph.graph.node if node.op_type == "Sigmoid")
    assert "replaced" not in sigmoid.output[0]
    assert list(light.output) == [graph.graph.output[0].name] == ["replaced_layer_2_"]


def test_operators_that_swallowed_a_layer_are_no_number() -> None:
    with pytest.raises(DeployError, match="ONNX Runtime merged 1 of 2 replaced layers"):
        share_of_marked({"replaced_layer_0_nchwc": [1.0], "add": [2.0]}, ["replaced_layer_0_", "x"], "ONNX Runtime")


def test_what_the_machine_does_beside_a_pass_does_not_count() -> None:
    """Every third pass is held up for much longer than it takes."""
    now = [0.0]
    lengths = itertools.cycle((90.0, 3.0, 3.0))

    class Waiting(nn.Module):
        def __init__(self, seconds: Iterator[float]) -> None:
            super().__init__()
            self.seconds = seconds

        def forward(self, x: Tensor) -> Tensor:
            now[0] += next(self.seconds)
            return x

    model = nn.Sequential(Waiting(lengths), Waiting(itertools.repeat(1.0))).eval()
    assert share_of_modules(model, (torch.zeros(1),), ["1"], "cpu", lambda: now[0]) == 0.25
