"""The graph of a model that is an ``nn.Sequential`` itself."""

from __future__ import annotations

import torch
from torch import nn

from kswap.graph.call import Call
from kswap.graph.tracer import graph_module


def test_the_graph_of_a_sequential_returns_what_the_model_returns() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(16, 8, 1), nn.Sequential(nn.BatchNorm2d(8), nn.ReLU())).eval()
    x = torch.randn(2, 16, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(graph_module(model, Call((x,)))(x), model(x))
