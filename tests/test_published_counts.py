"""Parameters and computations of the papers, exactly, on timm's EfficientNets."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import kswap
from kswap.planner.counting import count_plan
from kswap.planning import PlanSettings
from kswap.traced import TracedModel

BASELINE = (4_020_358, 6_525_994, 7_715_084, 10_711_602, 17_566_546, 28_361_274, 40_758_754, 63_812_570)
CONVERTED = {
    ("v2", 16): (623_226, 901_542, 983_198, 1_280_612, 1_858_440, 2_538_870, 3_324_654, 4_585_154),
    ("v2", 32): (950_650, 1_389_062, 1_524_590, 2_001_430, 2_911_052, 4_011_626, 5_245_140, 7_254_626),
    ("v1", 16): (639_702, 922_770, 1_130_344, 1_532_902, 1_952_306, 2_633_470, 4_714_030, 4_669_218),
    ("v1", 32): (1_059_202,),
}


@pytest.mark.parametrize("size", range(8))
def test_trainable_parameters_of_the_papers(size: int) -> None:
    wanted = {setting: counts[size] for setting, counts in CONVERTED.items() if size < len(counts)}
    settings = {(scheme, ch): PlanSettings.of(ch, scheme, None) for scheme, ch in wanted}
    traced = TracedModel.of(f"efficientnet_b{size}", {"num_classes": 10}, settings["v2", 16])
    plans = {setting: traced.plan(asked) for setting, asked in settings.items()}
    assert {plan.before.trainable_params for plan in plans.values()} == {BASELINE[size]}
    assert {setting: count_plan(plan).trainable_params for setting, plan in plans.items()} == wanted


@pytest.mark.parametrize(("scheme", "ch"), CONVERTED)
def test_the_smallest_of_them_through_the_front_door(scheme: str, ch: int) -> None:
    plan = kswap.plan("efficientnet_b0", ch=ch, scheme=scheme, num_classes=10)
    assert count_plan(plan).trainable_params == CONVERTED[scheme, ch][0]


@pytest.mark.parametrize(("ch", "params"), [(2, 311_994), (4, 354_818), (8, 444_346), (12, 534_274)])
def test_few_channels_per_group(ch: int, params: int) -> None:
    assert count_plan(kswap.plan("efficientnet_b0", ch=ch, num_classes=10)).trainable_params == params


def test_two_classes() -> None:
    assert count_plan(kswap.plan("efficientnet_b0", ch=12, num_classes=2)).trainable_params == 524_026


@pytest.mark.parametrize(("ch", "params"), [(4, 342_070), (8, 422_886), (16, 584_934), (32, 879_750)])
def test_no_second_layer(ch: int, params: int) -> None:
    plan = kswap.plan("efficientnet_b0", ch=ch, rules="no-second-layer", num_classes=10)
    assert count_plan(plan).trainable_params == params
    assert all(site.layer.l is None and site.layer.interleave_step is None for site in plan.replaced)


def test_computations_as_the_papers_print_them() -> None:
    conversion = kswap.convert("efficientnet_b0", ch=16, num_classes=10, device="cpu", seed=0)
    assert conversion.report.computations.before == 389_969_098
    assert conversion.report.computations.after == 124_714_558


def test_without_the_top_activation_it_is_the_authors_network() -> None:
    rules = {"rule": [{"match": {"name": "conv_head"}, "activation": "identity"}]}
    conversion = kswap.convert("efficientnet_b0", ch=16, rules=rules, num_classes=10, device="cpu", seed=0)
    assert conversion.report.computations.after == 124_683_198
    assert conversion.report.trainable_params.after == 623_226


@pytest.mark.parametrize("scheme", ["v1", "v2"])
@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenetv3_small_050", "resnet26d", "torchvision/mobilenet_v2"])
def test_macs_are_those_of_torchs_flop_counter(name: str, scheme: str) -> None:
    """The report's closed form after conversion against torch's count of the model that was built."""
    conversion = kswap.convert(name, ch=8, scheme=scheme, device="cpu", seed=0, input_size=(64, 64))
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        conversion.model.eval()(torch.zeros(1, 3, 64, 64))
    assert flops.get_total_flops() == 2 * conversion.report.macs.after


def test_the_built_model_has_what_the_report_says() -> None:
    conversion = kswap.convert("efficientnet_b0", ch=16, num_classes=10, device="cpu", seed=0)
    built = sum(p.numel() for p in conversion.model.parameters())
    assert built == conversion.report.params.after == 623_226
    sites = conversion.report.sites
    saved = sum(site.params_before - site.params_after for site in sites)
    assert saved == conversion.report.params.before - conversion.report.params.after
    block = conversion.model.get_submodule("blocks.6.0.conv_pwl")
    row = next(site for site in sites if site.name == "blocks.6.0.conv_pwl")
    assert sum(p.numel() for p in block.parameters()) == row.params_after == 10_240 + 4 * 320
    assert row.params_before == 1152 * 320 + 2 * 320


def test_squeeze_and_excite_is_replaced_and_the_classifier_is_not() -> None:
    plan = kswap.plan("mobilenetv3_large_100", ch=16)
    assert any(site.replaced for site in plan.sites if site.site.role == "squeeze-excite")
    squeeze = kswap.plan("torchvision/squeezenet1_1", ch=16)["classifier.1"]
    assert squeeze.action == "keep"
    assert "the classifier is never replaced" in squeeze.reason


def test_a_classifier_that_timm_makes_a_convolution_is_kept() -> None:
    plan = kswap.plan("resnetv2_50", ch=16)
    assert plan["head.fc"].reason == "the classifier is never replaced"
