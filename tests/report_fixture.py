"""Reports of EfficientNets, built by hand from the published architecture: no torch, no timm."""

from __future__ import annotations

import math

from kswap.planner import Counts, Plan, SitePlan, plan_layer
from kswap.planner.sites import AbsorbedLayer, Site
from kswap.report.report import Report, report_of

# expand ratio, channels, repeats, stride, kernel of each stage of EfficientNet-B0
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
CLASSES = 10
HOSTILE = "</title><script>alert(1)</script>|`[red]**x**\x1b[31m\n=cmd"


def rounded(channels: float) -> int:
    new = max(8, int(channels + 4) // 8 * 8)
    return new if new >= 0.9 * channels else new + 8


def convolution(name: str, ic: int, f: int, side: int, role: str, norm: bool, activation: str | None) -> Site:
    """A pointwise convolution with norm (``bn``), or, in squeeze-and-excite, with a bias."""
    positions = side * side
    acts = 1 if activation == "SiLU" else 0
    return Site(
        name,
        ic,
        f,
        bias=not norm,
        role=role,
        positions=positions,
        norm=AbsorbedLayer(f"{name}_bn", "BatchNorm2d", 2 * f, 2 * f) if norm else None,
        activation=AbsorbedLayer(f"{name}_act", activation, operations=acts * positions * f) if activation else None,
    )


def efficientnet_plan(model: str, width: float, depth: float, side: int, ch: int, second_layer: bool = True) -> Plan:
    """The plan of a timm EfficientNet; ``params`` before are exact for 10 classes."""
    stem = rounded(32 * width)
    spot = math.ceil(side / 2)
    params, macs, operations = 27 * stem + 2 * stem, 27 * stem * spot**2, 0
    sites: list[Site] = []
    channels = stem
    for stage, (expand, filters, repeats, first_stride, kernel) in enumerate(STAGES):
        out = rounded(filters * width)
        for block in range(math.ceil(repeats * depth)):
            stride = first_stride if block == 0 else 1
            at, inner, squeezed = f"blocks.{stage}.{block}", channels * expand, max(1, round(channels / 4))
            if expand > 1:
                sites.append(convolution(f"{at}.conv_pw", channels, inner, spot, "expansion", True, "SiLU"))
            spot = math.ceil(spot / stride)
            params += kernel**2 * inner + 2 * inner
            macs += kernel**2 * inner * spot**2
            sites.append(convolution(f"{at}.se.conv_reduce", inner, squeezed, 1, "squeeze-excite", False, "SiLU"))
            sites.append(convolution(f"{at}.se.conv_expand", squeezed, inner, 1, "squeeze-excite", False, "Sigmoid"))
            last = "conv_pwl" if expand > 1 else "conv_pw"
            sites.append(convolution(f"{at}.{last}", inner, out, spot, "projection", True, None))
            channels = out
    head = rounded(1280 * width)
    sites.append(convolution("conv_head", channels, head, spot, "pointwise", True, "SiLU"))
    params += (head + 1) * CLASSES
    macs += head * CLASSES
    for site in sites:
        weights = site.in_channels * site.out_channels
        params += weights + (site.norm.params if site.norm else 0) + (site.out_channels if site.bias else 0)
        macs += weights * site.positions
        operations += site.activation.operations if site.activation else 0
    plans = []
    for site in sites:
        layer = plan_layer(site.in_channels, site.out_channels, ch, "v2", second_layer)
        plans.append(SitePlan(site, layer, "replace" if layer.k else "keep", layer.reason))
    before = Counts(params, params, macs, 2 * macs + operations)
    return Plan(model, "v2", ch, "keffnet-v2", (3, side, side), tuple(plans), before)


def efficientnet_report(model: str, width: float, depth: float, side: int, ch: int = 16) -> Report:
    return report_of(efficientnet_plan(model, width, depth, side, ch))
