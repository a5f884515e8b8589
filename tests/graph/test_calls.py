"""Models of several inputs, nested and by keyword: observed, converted, traced, saved and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import kswap


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.c1 = nn.Conv2d(3, 64, 3), nn.Conv2d(64, 64, 1)
        self.bn, self.head = nn.BatchNorm2d(64), nn.Conv2d(64, 5, 3)

    def run(self, *xs: Tensor) -> Tensor:
        return self.head(self.bn(self.c1(self.stem(sum(xs)))).relu())


class Three(Body):
    def forward(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return self.run(a, b, c)


class Any4(Body):
    def forward(self, *xs: Tensor) -> Tensor:
        a, b, c, d = xs
        return self.run(a, b, c, d)


class Nested(Body):
    def forward(self, pair: list[Tensor], more: dict[str, Tensor], scale: float = 1.0) -> Tensor:
        return self.run(pair[0], pair[1] * scale, more["c"])


class Keywords(Body):
    def forward(self, a: Tensor, *, b: Tensor, c: Tensor | None = None) -> Tensor:
        return self.run(a, b) if c is None else self.run(a, b, c)


def x() -> Tensor:
    return torch.randn(2, 3, 9, 9)


@pytest.mark.parametrize(
    ("kind", "example"),
    [
        (Three, (x(), x(), x())),
        (Any4, (x(), x(), x(), x())),
        (Nested, ([x(), x()], {"c": x()})),
        (Nested, {"pair": [x(), x()], "more": {"c": x()}, "scale": 2.0}),
        (Keywords, {"a": x(), "b": x()}),
        (Keywords, {"a": x(), "b": x(), "c": x()}),
    ],
    ids=["three", "star", "nested", "nested-keywords", "keywords", "optional"],
)
def test_any_call_is_converted_traced_and_known_after_a_reload(kind: type[Body], example: Any, tmp_path: Path) -> None:
    conversion = kswap.convert(kind(), ch=16, example_input=example, seed=0)
    assert [site.name for site in conversion.plan.replaced] == ["c1"]
    again = kswap.load(conversion.save(tmp_path / "m"), model=kind())
    args, kwargs = ((), example) if isinstance(example, dict) else (example, {})
    for found in (conversion, again):
        model, graph = found.model.eval(), found.graph_module
        with torch.no_grad():
            assert torch.equal(graph(*args, **kwargs), model(*args, **kwargs))


def test_counts_of_a_batch_are_those_of_one_sample() -> None:
    one, four = (kswap.plan(Three(), ch=16, example_input=(torch.zeros(n, 3, 9, 9),) * 3) for n in (1, 4))
    assert one == four


def test_frozen_norms_stay_frozen_in_the_graph_and_in_evaluation() -> None:
    model = Three().train()
    model.bn.eval()
    conversion = kswap.convert(model, ch=16, example_input=(x(), x(), x()), rules={"placement": "linear"}, seed=0)
    assert [m.training for m in (conversion.model, conversion.model.bn, conversion.model.c1)] == [True, False, True]
    graph = conversion.graph_module
    assert [m.training for m in (conversion.model, conversion.model.bn, graph, graph.bn)] == [True, False, True, False]
