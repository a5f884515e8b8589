"""Which share of a pass's time some layers take, from times that a runtime says operator by operator."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import torch
from torch import nn

from kswap.errors import DeployError
from kswap.runtimes.pytorch import placed, prepared_call
from kswap.timing import interleaved

# Passes of one measurement: as many as there are seconds for, and at least as many as a median needs.
SECONDS = 1.0
MOST_PASSES = 60
LEAST_PASSES = 9


def repeated(run: Callable[[], object]) -> int:
    """Run passes for a second; returns how many, warm-up included."""
    warmup = 2
    times = interleaved({"pass": run}, MOST_PASSES, warmup, SECONDS, LEAST_PASSES)
    return warmup + len(times["pass"])


def share_of_marked(times: Mapping[str, Sequence[float]], marks: Collection[str], runtime: str) -> float:
    """The share of operators whose name holds one of ``marks``, 0 to 1.

    Args:
        times: Of each operator by its name, one entry a pass; their medians are added up.
        marks: One for each layer; see :func:`kswap.runtimes.onnx_marks.mark_`.
        runtime: What messages call the runtime.

    Raises:
        DeployError: A layer has no operator of its own.

    >>> share_of_marked({"fused layer_0_": [3.0, 9.0, 3.0], "add": [1.0, 1.0, 1.0]}, ["layer_0_"], "ONNX Runtime")
    0.75
    """
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    missing = [mark for mark in marks if not any(mark in name for name in medians)]
    if missing:
        raise DeployError(f"{runtime} merged {len(missing)} of {len(marks)} replaced layers into other operators")
    inside = sum(seconds for name, seconds in medians.items() if any(mark in name for mark in marks))
    return inside / sum(medians.values())


def share_of_modules(
    model: nn.Module, inputs: tuple[object, ...], names: Iterable[str], device: str, clock: Callable[[], float]
) -> float:
    """The share of modules by name in a pass of PyTorch itself, 0 to 1: the median over the quicker half of the passes.

    ``clock`` is read before and after each module, and waits for the device where it has to. Raises
    :class:`DeployError` where the model has no such module, or does not call it.
    """
    copy, moved = placed(model, inputs, device)
    began: list[float] = []
    inside = [0.0]
    called: set[str] = set()

    def start(_module: nn.Module, _arguments: object) -> None:
        began.append(clock())

    def end_of(name: str) -> Callable[[nn.Module, object, object], None]:
        def end(_module: nn.Module, _arguments: object, _output: object) -> None:
            inside[0] += clock() - began.pop()
            called.add(name)

        return end

    wanted = set(names)
    found = {name: module for name, module in copy.named_modules(remove_duplicate=False) if name in wanted}
    for name, module in found.items():
        module.register_forward_pre_hook(start)
        module.register_forward_hook(end_of(name))
    ready = prepared_call(copy, moved, device)
    passes = []

    def one() -> None:
        inside[0], before = 0.0, clock()
        ready.run()
        passes.append((clock() - before, inside[0]))

    repeated(one)
    missing = wanted - called
    if missing:
        raise DeployError(f"the model does not call {len(missing)} of the {len(wanted)} layers that are replaced")
    # Whatever else the machine does only ever makes a pass longer, and may do so anywhere in it.
    return statistics.median(part / whole for whole, part in sorted(passes)[: len(passes) // 2 + 1])


def synchronised_clock() -> float:
    """Seconds, once the GPU has finished what it was given."""
    import time

    torch.cuda.synchronize()
    return time.perf_counter()
