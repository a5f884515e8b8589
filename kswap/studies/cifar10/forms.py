"""The networks of a study as plans and as modules, and peers that have the parameters of the main one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from kswap.conversion import convert, plan
from kswap.converted import Conversion
from kswap.errors import StudyError
from kswap.planner.counting import count_plan
from kswap.studies.cifar10.settings import Settings
from kswap.training.baseline import unconverted

Form = TypeVar("Form")

# How far the parameters of a peer may be from those of the network that it is compared with.
_TOLERANCE = 0.02


def baseline_of(settings: Settings, seed: int) -> Conversion:
    """The network as it is, on the CPU, with its strides skipped."""
    arguments = {"num_classes": settings.num_classes, **settings.arguments}
    return unconverted(
        settings.network,
        input_size=settings.input_size,
        skip_strides=settings.skip_strides,
        device="cpu",
        seed=seed,
        **arguments,
    )


def converted(settings: Settings, seed: int, **asked: Any) -> Conversion:
    """The network converted as ``asked``, with arguments of :func:`kswap.convert`, on the CPU."""
    return convert(settings.network, device="cpu", seed=seed, progress=False, **_arguments(settings, asked))


def params_of(settings: Settings, **asked: Any) -> int:
    """The trainable parameters that :func:`converted` would have; nothing is built."""
    return count_plan(plan(settings.network, **_arguments(settings, asked))).trainable_params


def matched(settings: Settings, forms: Sequence[Form], params: Callable[[Form], int], title: str) -> tuple[Form, str]:
    """The form whose parameters are nearest to those of v2 with ``main_ch``, and by how much they differ in words.

    Args:
        settings: The study.
        forms: What can be chosen, from small to large.
        params: The parameters of each; few of them are asked for.
        title: What messages call them.

    Raises:
        StudyError: None comes within 2%.
    """
    wanted = params_of(settings, ch=settings.main_ch, scheme="v2")
    place = bisect_left(forms, wanted, key=params)
    counts = {form: params(form) for form in forms[max(0, place - 1) : place + 1]}
    best = min(counts, key=lambda form: abs(counts[form] - wanted))
    if abs(counts[best] - wanted) > _TOLERANCE * wanted:
        raise StudyError(
            f"no {title} of {settings.network} comes within {_TOLERANCE:.0%} of {wanted:,} parameters: the nearest has "
            f"{counts[best]:,}; leave the method out, or choose another Ch for the peers"
        )
    return best, f"{counts[best] / wanted - 1:+.1%} parameters"


def _arguments(settings: Settings, asked: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "input_size": settings.input_size,
        "skip_strides": settings.skip_strides,
        "num_classes": settings.num_classes,
        **settings.arguments,
        **settings.converted_arguments,
        **asked,
    }
