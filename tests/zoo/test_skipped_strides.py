"""Strides that the papers skip for small images: the authors' numbering, their padding, their counts."""

from __future__ import annotations

import pytest
import torch

import kswap
from kswap.errors import ModelError
from kswap.papers.recipes import Variant, recipe
from kswap.planner.counting import count_plan
from kswap.planner.edits import STRIDE


@pytest.mark.parametrize("scheme", ["v1", "v2"])
def test_kmobilenet_at_32x32_has_the_authors_computations(scheme: str) -> None:
    """Their row has swish everywhere; with the published ReLU6 the stem and the depthwise layers cost no products."""
    arguments = {"pointwise_activation": "silu", "num_classes": 10, "ch": 32, "scheme": scheme}
    size = {"skip_strides": recipe("kmobilenet").strides_skipped(3), "input_size": (32, 32)}
    plan = kswap.plan("papers/mobilenet", depthwise_activation="silu", **arguments, **size)  # type: ignore[arg-type]
    assert count_plan(plan).operations // 2 == 271_857_918
    published = Variant(recipe("kmobilenet"), scheme, 32, 10, (32, 32), skip_stride_cnt=3).plan()
    swish_elements = 31 * 31 * (32 + 32 + 64 + 2 * 128 + 2 * 256 + 5 * 512) + 15 * 15 * (512 + 1024)
    assert count_plan(published).operations // 2 == 271_857_918 - swish_elements // 2
    assert count_plan(published).trainable_params == 403_018


def test_a_skipped_depthwise_convolution_keeps_the_size_of_its_map() -> None:
    conversion = Variant(recipe("kmobilenet"), ch=32, num_classes=3, input_size=(32, 32), skip_stride_cnt=3).convert()
    sides = {}

    def record(name: str) -> None:
        module = conversion.model.get_submodule(name)
        module.register_forward_hook(lambda _module, _args, out: sides.update({name: tuple(out.shape[2:])}))

    names = ["stem_conv", *(f"blocks.{number}.depthwise" for number in range(1, 14))]
    for name in names:
        record(name)
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        conversion.model.eval()(x)
    assert sides == {name: (15, 15) if name.endswith(("12.depthwise", "13.depthwise")) else (31, 31) for name in names}
    with torch.no_grad():
        assert torch.allclose(conversion.graph_module.eval()(x), conversion.model(x), atol=1e-5)


@pytest.mark.parametrize(("skip_stride_cnt", "strides"), list(zip(range(-1, 6), (0, 1, 1, 2, 3, 4, 4), strict=True)))
def test_numbers_of_skips_are_the_authors(skip_stride_cnt: int, strides: int) -> None:
    variant = Variant(recipe("kefficientnet-b0"), skip_stride_cnt=skip_stride_cnt)
    assert variant.skip_strides == strides
    if skip_stride_cnt == 3:
        edits = [edit.module for edit in variant.plan().edits if edit.set == STRIDE]
        assert edits == ["stem_conv", "blocks.2a.depthwise", "blocks.3a.depthwise"]


@pytest.mark.parametrize(("name", "number"), [("kefficientnet-b0", 6), ("kmobilenet", 5), ("kmobilenet", -2)])
def test_numbers_that_the_authors_do_not_have_are_refused(name: str, number: int) -> None:
    with pytest.raises(ModelError, match=f"skip_stride_cnt of {name} must be a whole number, -1 to"):
        Variant(recipe(name), skip_stride_cnt=number).plan()


def test_where_the_papers_skip_nothing_the_number_is_that_of_the_strides() -> None:
    assert recipe("kmobilenet-v3-large").strides_skipped(2) == 2
    with pytest.raises(ModelError, match="-1 or more, not True"):
        recipe("kmobilenet-v3-large").strides_skipped(True)
