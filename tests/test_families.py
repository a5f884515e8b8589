"""With every block bypassed by what it replaced, the converted model is the original: one model of each family."""

from __future__ import annotations

import pytest
import timm
import torch
from bypass import bypass_, equal, scatter_
from torch.utils._pytree import tree_flatten

import kswap
from kswap.coverage.sizes import smallest_size
from kswap.model_table.table import read_table
from kswap.sources.builders import build
from kswap.sources.inputs import input_size_of
from kswap.sources.source import parse_source

# The smallest member of each timm family that has 1x1 convolutions, by the module of timm that builds it.
QUICK = {
    "byobnet": "test_byobnet",
    "convnext": "convnext_zepto_rms",
    "edgenext": "edgenext_xx_small",
    "efficientnet": "test_efficientnet",
    "efficientvit_mit": "efficientvit_b0",
    "fasternet": "fasternet_t0",
    "ghostnet": "ghostnet_050",
    "levit": "levit_conv_128s",
    "maxxvit": "test_coatnet",
    "mobilenetv3": "mobilenetv3_small_050",
    "mobilevit": "mobilevit_xxs",
    "nfnet": "test_nfnet",
    "repvit": "repvit_m1",
    "resnet": "test_resnet",
    "starnet": "starnet_s050",
    "xcit": "xcit_nano_12_p8_224",
}
SLOW = {
    "byoanet": "halonet_h1",
    "convmixer": "convmixer_768_32",
    "cpubone": "cpubone_nano",
    "csatv2": "csatv2",
    "cspnet": "cs3darknet_focus_s",
    "cspnext": "cspnext_tiny",
    "densenet": "densenet121",
    "dla": "dla46x_c",
    "dpn": "dpn48b",
    "efficientformer": "efficientformer_l1",
    "efficientformer_v2": "efficientformerv2_s0",
    "efficientvim": "efficientvim_m1",
    "efficientvit_msra": "efficientvit_m0",
    "fastvit": "fastvit_t8",
    "focalnet": "focalnet_tiny_srf",
    "gcvit": "gcvit_xxtiny",
    "hardcorenas": "hardcorenas_b",
    "hgnet": "hgnetv2_b0",
    "hrnet": "hrnet_w18_small",
    "iformer": "iformer_t",
    "inception_next": "inception_next_atto",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3",
    "inception_v4": "inception_v4",
    "lcnetv2": "lcnetv2_small",
    "lowformer": "lowformer_b0",
    "metaformer": "poolformerv2_s12",
    "mobilenetv5": "mobilenetv5_base",
    "nasnet": "nasnetalarge",
    "nextvit": "nextvit_small",
    "pnasnet": "pnasnet5large",
    "pvt_v2": "pvt_v2_b2_li",
    "rdnet": "rdnet_tiny",
    "regnet": "regnetx_002",
    "repghost": "repghostnet_050",
    "res2net": "res2next50",
    "resnest": "resnest14d",
    "resnetv2": "resnetv2_18",
    "rexnet": "rexnet_100",
    "selecsls": "selecsls42",
    "senet": "legacy_seresnet18",
    "sequencer": "sequencer2d_s",
    "shvit": "shvit_s1",
    "sknet": "skresnet18",
    "swiftformer": "swiftformer_xs",
    "tiny_vit": "tiny_vit_5m_224",
    "tresnet": "tresnet_m",
    "vgg": "vgg11",
    "visformer": "visformer_tiny",
    "vision_transformer_hybrid": "vit_small_r26_s32_224",
    "vision_transformer_sam": "samvit_base_patch16",
    "vitamin": "vitamin_small_224",
    "vovnet": "ese_vovnet19b_slim_dw",
    "xception": "legacy_xception",
    "xception_aligned": "xception41p",
}


# Models that are too large at their own size, which is fixed when they are built.
SMALLER = {"samvit_base_patch16": {"img_size": 256}}


def check_that_nothing_else_changes(name: str, kind: str = "grouped") -> None:
    """Parameters and running statistics are drawn at random, so that no layer can be left out unseen."""
    torch.manual_seed(0)
    source = parse_source(name, SMALLER.get(name))
    empty = build(source, meta=True).eval()
    side = SMALLER.get(name, {}).get("img_size")
    size = (3, side, side) if side else smallest_size(empty, input_size_of(empty, source))
    model = build(source).eval()
    scatter_(model)
    conversion = kswap.convert(model, ch=8, input_size=size, seed=0, kind=kind)
    assert bypass_(conversion, model) > 0
    x = torch.randn(2, *size)
    with torch.no_grad():
        wanted = model(x)
        assert all(leaf.isfinite().all() for leaf in tree_flatten(wanted)[0])
        assert equal(conversion.model.eval()(x), wanted)


@pytest.mark.parametrize("name", QUICK.values(), ids=QUICK)
def test_nothing_outside_the_blocks_changes(name: str) -> None:
    check_that_nothing_else_changes(name)


@pytest.mark.parametrize("family", ["efficientnet", "convnext", "nfnet", "resnet", "xcit"])
def test_nothing_outside_low_rank_blocks_changes(family: str) -> None:
    check_that_nothing_else_changes(QUICK[family], "low-rank")


@pytest.mark.parametrize("family", ["efficientnet", "resnet"])
def test_nothing_outside_assigned_blocks_changes(family: str) -> None:
    check_that_nothing_else_changes(QUICK[family], "assigned")


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW.values(), ids=SLOW)
def test_nothing_outside_the_blocks_changes_slow(name: str) -> None:
    check_that_nothing_else_changes(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*QUICK.values(), *SLOW.values()], ids=[*QUICK, *SLOW])
def test_nothing_outside_low_rank_blocks_changes_slow(name: str) -> None:
    check_that_nothing_else_changes(name, "low-rank")


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_nothing_outside_the_blocks_changes_in_torchvision(name: str) -> None:
    """ResNet calls one in-place ReLU several times; ShuffleNet takes its channels apart and puts them together."""
    check_that_nothing_else_changes(f"torchvision/{name}")


def test_every_family_is_here() -> None:
    """Each module of timm that builds a model with 1x1 convolutions is represented by one of its own."""
    from timm.models._registry import _model_to_module

    with_any = {name for name, row in read_table().items() if row.pointwise_convolutions}
    families = {_model_to_module[name] for name in with_any & set(timm.list_models())}
    assert families <= set(QUICK | SLOW)
    assert all(_model_to_module[name] == family for family, name in (QUICK | SLOW).items())
