"""PyTorch itself: as it stands, compiled by inductor, and on a CUDA device."""

from __future__ import annotations

from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from kswap.graph.clone import full_clone
from kswap.runtimes.prepared import Prepared, failure, silence, tensors_in


def _channels_last(value: Any) -> Any:
    """Images and their like with their channels innermost; all else as it is."""
    if isinstance(value, Tensor) and value.ndim == 4:
        return value.contiguous(memory_format=torch.channels_last)
    return value


def _placed(model: nn.Module, inputs: tuple[Any, ...], device: str) -> tuple[nn.Module, tuple[Any, ...]]:
    """A copy of the model in eval mode and its inputs, on the device, with channels last."""
    copy = full_clone(model).eval().to(device)
    for tensor in [*copy.parameters(), *copy.buffers()]:
        tensor.data = _channels_last(tensor.data)
    return copy, _moved(inputs, device)


def _moved(inputs: tuple[Any, ...], device: str) -> tuple[Any, ...]:
    def moved(value: Any) -> Any:
        return _channels_last(value.detach().to(device)) if isinstance(value, Tensor) else value

    return tuple(tree_map(moved, inputs))


def _prepared(call: Any, inputs: tuple[Any, ...], device: str = "cpu") -> Prepared:
    # inference_mode costs less than no_grad on every operator, and inputs made outside of it are allowed.
    def run() -> Any:
        with torch.inference_mode():
            return call(*inputs)

    def outputs() -> list[Tensor]:
        return [tensor.cpu() for tensor in tensors_in(run())]

    return Prepared(run, outputs, lambda other: _prepared(call, _moved(other, device), device))


def prepare_eager(model: nn.Module, inputs: tuple[Any, ...], threads: int | None, quick: bool) -> Prepared:
    """Operator by operator on the CPU."""
    if threads is not None:
        torch.set_num_threads(threads)
    return _prepared(*_placed(model, inputs, "cpu"))


def prepare_cuda(model: nn.Module, inputs: tuple[Any, ...], threads: int | None, quick: bool) -> Prepared:
    """Operator by operator on the GPU; a pass ends when the GPU has finished it.

    Turns on cuDNN's search for the quickest kernels, for the process.
    """
    torch.backends.cudnn.benchmark = True
    copy, moved = _placed(model, inputs, "cuda")

    def call(*given: Any) -> Any:
        output = copy(*given)
        torch.cuda.synchronize()
        return output

    return _prepared(call, moved, "cuda")


def prepare_inductor(model: nn.Module, inputs: tuple[Any, ...], threads: int | None, quick: bool) -> Prepared:
    """Compiled on the CPU with frozen weights: oneDNN gets them packed, activations run inside convolutions.

    ``quick`` leaves the calls between kernels in Python, which halves the time to compile.
    """
    import torch._inductor.config as inductor

    if threads is not None:
        torch.set_num_threads(threads)
    copy, moved = _placed(model, inputs, "cpu")
    compiled = torch.compile(
        _fresh(copy), dynamic=False, options={"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
    )
    prepared = _prepared(compiled, moved)
    try:
        # Tracing reads `freezing` too, so it has to hold for the process and not only as an option of the compiler.
        with silence(), inductor.patch({"freezing": True, "cpp_wrapper": not quick}):
            prepared.run()
            prepared.run()
    except Exception as error:
        raise failure("inductor", model, error, "take another target") from error
    return prepared


def _fresh(model: nn.Module) -> FunctionType:
    """``model`` as a function with code of its own.

    torch.compile keeps what it compiled with the code, and gives up on code that it met with many models. Model
    and inputs of a prepared pass never change, so it need not look at them again before each call either.
    """

    def call(*inputs: Any) -> Any:
        return model(*inputs)

    return FunctionType(call.__code__.replace(), call.__globals__, "call", None, call.__closure__)
