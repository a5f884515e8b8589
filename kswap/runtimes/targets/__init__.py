"""Targets, one file each: the places where a model can run. Importing this package does not import torch.

- :data:`TARGETS` holds every :class:`Target` by name, and ``tuple(TARGETS)`` are the choices of the command line.
- :func:`find_target` returns the target of a name; :func:`check_target` also checks that it can run here.
- What tuning and timing ask a target: ``device``, ``is_eager``, ``fuses_across_layers``, ``most_implementations``,
  ``tries_estimate``. Nothing else compares names of targets.
- :func:`prepare` returns a forward pass that is ready to run. Passes are timed inside ``target.settings(threads)``,
  which restores what it sets for the process (torch's threads, cuDNN's search)::

      target = check_target("eager")
      with target.settings(threads=1):
          passes = {"a": prepare(a, inputs, target, 1).run, "b": prepare(b, inputs, target, 1).run}
          times = interleaved(passes)

- :func:`eager_target` returns the target that runs PyTorch itself on a device.

A target that is added here needs no edit elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kswap.errors import DeployError, nearest
from kswap.runtimes.targets import cuda, eager, executorch, inductor, onnxruntime, openvino
from kswap.runtimes.targets.target import Target

if TYPE_CHECKING:
    from torch import nn

    from kswap.runtimes.prepared import Prepared

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        eager.TARGET,
        inductor.TARGET,
        onnxruntime.TARGET,
        openvino.TARGET,
        executorch.TARGET,
        cuda.TARGET,
    )
}


def find_target(name: str) -> Target:
    """The target called ``name``. Raises :class:`DeployError` for an unknown one.

    >>> find_target("onnx-runtime")
    Traceback (most recent call last):
    kswap.errors.DeployError: unknown target 'onnx-runtime'; did you mean onnxruntime?
    """
    if name not in TARGETS:
        hint = nearest(name, TARGETS) or f": use one of {', '.join(TARGETS)}"
        raise DeployError(f"unknown target '{name}'{hint}")
    return TARGETS[name]


def check_target(name: str) -> Target:
    """The target called ``name``. Raises :class:`DeployError` for an unknown one, and for one that cannot run here.

    >>> check_target("eager").device
    'cpu'
    """
    target = find_target(name)
    target.check()
    return target


def eager_target(device: str) -> Target:
    """The target that runs PyTorch itself on a type of device.

    >>> eager_target("cuda").name
    'cuda'
    """
    return next(target for target in TARGETS.values() if target.is_eager and target.device == device)


def prepare(
    model: nn.Module,
    inputs: tuple[Any, ...],
    target: str | Target,
    threads: int | None = None,
    quick: bool = False,
    slices: int = 1,
) -> Prepared:
    """A forward pass of ``model`` in eval mode on ``inputs``, ready to run in ``target``; ``model`` is unchanged.

    Args:
        model: Any module. The pass uses a copy of its weights.
        inputs: Positional inputs; the pass takes exactly these shapes.
        target: A target or its name.
        threads: Threads of one operator; ``None`` leaves the number to the runtime. PyTorch has one number per
            process, so ``eager`` and ``inductor`` need it while the pass runs too: run it inside
            ``target.settings(threads)``.
        quick: Prepares sooner, with the same operators, for many small models that are timed and discarded.
        slices: Runs the batch in this many equal parts, one after the other, so that activations may stay in cache.

    Raises:
        DeployError: The target is unknown, cannot run here, or cannot run this model.

    >>> import torch
    >>> ready = prepare(torch.nn.Conv2d(3, 8, 1), (torch.zeros(1, 3, 4, 4),), "eager")
    >>> [tuple(output.shape) for output in ready.outputs()]
    [(1, 8, 4, 4)]
    """
    from kswap.runtimes.prepared import in_turn, slices_of

    found = check_target(target if isinstance(target, str) else target.name)
    first, *rest = slices_of(inputs, slices)
    with found.settings(threads):
        prepared = found.prepare(model, first, threads, quick)
        return in_turn(prepared, rest) if rest else prepared
