"""Reports to render, and a console that is a pipe."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from report_fixture import HOSTILE, efficientnet_plan, efficientnet_report
from rich.console import Console

from kswap.report.report import Report, report_of


@pytest.fixture(scope="session")
def sample_report() -> Report:
    """EfficientNet-B0 at Ch = 16: 64 sites, one of them kept by a rule, and two notes."""
    plan = efficientnet_plan("efficientnet_b0", 1.0, 1.0, 224, 16)
    plan = plan.keep(["blocks.0.0.conv_pw"], "kept by rule 'first block': too few channels to lose any")
    plan = replace(plan, notes=("rule 'transitions' (name 'features.transition*.conv') matched nothing",))
    return report_of(plan, notes=("conv_head: the activation is shared, so it stays behind the block",))


@pytest.fixture(scope="session")
def other_report() -> Report:
    """The same network at Ch = 32, nothing kept by hand."""
    return efficientnet_report("efficientnet_b0", 1.0, 1.0, 224, 32)


@pytest.fixture(scope="session")
def big_report() -> Report:
    """EfficientNet-B7 with a long name: 220 sites."""
    return efficientnet_report("hf-hub:timm/tf_efficientnet_b7.ns_jft_in1k_with_a_very_long_tag", 2.0, 3.1, 600)


@pytest.fixture(scope="session")
def hostile_report() -> Report:
    """A report as somebody who means harm would write it by hand."""
    report = efficientnet_report("efficientnet_b0", 1.0, 1.0, 224, 16)
    first, *others = report.sites
    sites = (
        replace(first, name=HOSTILE, reason=HOSTILE, norm=HOSTILE, activation=HOSTILE),
        *others[:-1],
        replace(others[-1], name=HOSTILE + "2", norm=HOSTILE, activation=HOSTILE, role=HOSTILE),
    )
    return replace(report, model=HOSTILE, rules=HOSTILE, scheme=HOSTILE, kswap=HOSTILE, sites=sites, notes=(HOSTILE,))


@pytest.fixture
def pipe() -> Console:
    """A console that is no terminal, 80 columns wide; read it with ``pipe.file.getvalue()``."""
    return Console(file=io.StringIO(), width=80)
