"""The operators of grouped blocks, which compilers and exporters see, and their gradients.

``kswap::grouped_block`` is a block without norms, or with norms that are folded into its weights: one kernel.
``kswap::grouped_block_batch_norm`` is a block whose norms take their statistics from the batch, so that K is computed
before what follows it. Neither keeps anything for the backward pass but its arguments and the statistics: K and L are
computed again there.

Layouts are the numbers of a :class:`kswap.planner.layout.GroupedLayout` in its order, ``l`` is empty where there is no
second layer; weights are ``(filters, width)``, both paths after each other; activations are named as in
:mod:`kswap.planner.activations`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, library

from kswap.nn import activation_functions as activations
from kswap.nn.kernels.launching import empty_output, gradient_of_input, gradient_of_weight, one_layer, whole_block
from kswap.planner.layout import GroupedLayout

# Gamma, beta, mean and 1 / standard deviation of a norm with statistics of the batch, all (channels,).
Norm = list[Tensor]


@library.triton_op("kswap::grouped_block", mutates_args=())
def grouped_block(
    x: Tensor,
    k_weight: Tensor,
    k_bias: Tensor | None,
    l_weight: Tensor | None,
    l_bias: Tensor | None,
    k: list[int],
    l: list[int],  # noqa: E741 - K and L are the names of the papers
    step: int,
    k_activation: str,
    l_activation: str,
    with_sum: bool,
) -> Tensor:
    """``k + act(L interleave(k))`` with ``k = act(K x)``; without ``with_sum`` the second summand, without L ``k``."""
    if l_weight is None:
        return one_layer(x, GroupedLayout(*k), k_weight, k_bias, k_activation)
    return whole_block(
        x, GroupedLayout(*k), k_weight, k_bias, k_activation,
        GroupedLayout(*l), l_weight, l_bias, l_activation, step, with_sum,
    )  # fmt: skip


def _shaped(x: Tensor, *arguments: Any) -> Tensor:
    k = arguments[4]
    return empty_output(x, k[1])


@library.triton_op("kswap::grouped_block_batch_norm", mutates_args=())
def grouped_block_batch_norm(
    x: Tensor,
    k_weight: Tensor,
    k_bias: Tensor | None,
    k_gamma: Tensor,
    k_beta: Tensor,
    l_weight: Tensor | None,
    l_bias: Tensor | None,
    l_gamma: Tensor | None,
    l_beta: Tensor | None,
    k: list[int],
    l: list[int],  # noqa: E741 - K and L are the names of the papers
    step: int,
    k_activation: str,
    l_activation: str,
    with_sum: bool,
    k_eps: float,
    l_eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The same with a batch norm before each activation; returns the output, and mean and variance of both norms.

    Variances are divided by the number of pixels. Those of L are empty where there is none.
    """
    before_k = one_layer(x, GroupedLayout(*k), k_weight, k_bias)
    k_mean, k_var = _statistics(before_k)
    k_norm = [k_gamma, k_beta, k_mean, torch.rsqrt(k_var + k_eps)]
    y = activations.value(k_activation, _normalised(before_k, k_norm))
    if l_weight is None or l_gamma is None or l_beta is None:
        return y, k_mean, k_var, k_mean.new_empty(0), k_mean.new_empty(0)
    before_l = one_layer(
        before_k, GroupedLayout(*l), l_weight, l_bias, step=step, before=k_activation,
        scale_and_shift=_scale_and_shift(k_norm),
    )  # fmt: skip
    l_mean, l_var = _statistics(before_l)
    l_norm = [l_gamma, l_beta, l_mean, torch.rsqrt(l_var + l_eps)]
    second = activations.value(l_activation, _normalised(before_l, l_norm))
    return y + second if with_sum else second, k_mean, k_var, l_mean, l_var


def _shaped_with_statistics(x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    k, l = arguments[8:10]  # noqa: E741
    statistics = torch.float64 if x.dtype == torch.float64 else torch.float32
    vectors = [x.new_empty(channels, dtype=statistics) for channels in (k[1], k[1], *((l[1],) * 2 if l else (0, 0)))]
    return empty_output(x, k[1]), *vectors


@library.triton_op("kswap::grouped_block_backward", mutates_args=())
def grouped_block_backward(
    grad: Tensor,
    x: Tensor,
    k_weight: Tensor,
    k_bias: Tensor | None,
    k_norm: list[Tensor],
    l_weight: Tensor | None,
    l_bias: Tensor | None,
    l_norm: list[Tensor],
    k: list[int],
    l: list[int],  # noqa: E741 - K and L are the names of the papers
    step: int,
    k_activation: str,
    l_activation: str,
    with_sum: bool,
) -> list[Tensor]:
    """The gradients of x, and of weight, bias, gamma and beta of K, then of L; empty ones for what there is not.

    A norm is a list of gamma, beta, mean and 1 / standard deviation, or empty.
    """
    k_layout, of_l = GroupedLayout(*k), [grad.new_empty(0) for _ in range(4)]
    before_k = one_layer(x, k_layout, k_weight, k_bias)
    if l_weight is not None:
        l_layout = GroupedLayout(*l)
        scaled = _scale_and_shift(k_norm) if k_norm else None
        before_l = one_layer(
            before_k, l_layout, l_weight, l_bias, step=step, before=k_activation, scale_and_shift=scaled
        )
        of_before_l, of_gamma, of_beta = _through(grad, before_l, l_norm, l_activation)
        of_weight = gradient_of_weight(of_before_l, before_k, l_layout, step, k_activation, scaled)
        of_l = [of_weight.to(l_weight.dtype), _of_bias(of_before_l, l_bias), of_gamma, of_beta]
        of_k_output = gradient_of_input(of_before_l, l_layout, l_weight, step)
        grad = grad + of_k_output if with_sum else of_k_output
    of_before_k, of_gamma, of_beta = _through(grad, before_k, k_norm, k_activation)
    of_weight = gradient_of_weight(of_before_k, x, k_layout).to(k_weight.dtype)
    of_x = gradient_of_input(of_before_k, k_layout, k_weight)
    return [of_x, of_weight, _of_bias(of_before_k, k_bias), of_gamma, of_beta, *of_l]


def _shaped_gradients(grad: Tensor, x: Tensor, k_weight: Tensor, *arguments: Any) -> list[Tensor]:
    k_bias, k_norm, l_weight, l_bias, l_norm, k = arguments[:6]
    of_x = empty_output(empty_output(grad, k[1]), k[0])

    def of_layer(weight: Tensor | None, bias: Tensor | None, norm: Norm) -> list[Tensor]:
        if weight is None:
            return [grad.new_empty(0) for _ in range(4)]
        of_norm = [torch.empty_like(vector) for vector in norm[:2]] or [grad.new_empty(0), grad.new_empty(0)]
        return [torch.empty_like(weight), grad.new_empty(0) if bias is None else torch.empty_like(bias), *of_norm]

    return [of_x, *of_layer(k_weight, k_bias, k_norm), *of_layer(l_weight, l_bias, l_norm)]


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel, in float32 or more."""
    var, mean = torch.var_mean(_exact(x), (0, 2, 3), correction=0)
    return mean, var


def _exact(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _scale_and_shift(norm: Norm) -> tuple[Tensor, Tensor]:
    gamma, beta, mean, inverse = norm
    scale = gamma * inverse
    return scale, beta - mean * scale


def _normalised(x: Tensor, norm: Norm) -> Tensor:
    scale, shift = _scale_and_shift(norm)
    return (_exact(x) * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)).to(x.dtype)


def _through(grad: Tensor, x: Tensor, norm: Norm, activation: str) -> tuple[Tensor, Tensor, Tensor]:
    """From the gradient of ``activation(norm(x))`` to those of x, gamma and beta."""
    if not norm:
        return activations.gradient(activation, grad, x), grad.new_empty(0), grad.new_empty(0)
    gamma, _, mean, inverse = norm
    grad = _exact(activations.gradient(activation, grad, _normalised(x, norm)))
    centred = (_exact(x) - mean.view(-1, 1, 1)) * inverse.view(-1, 1, 1)
    of_beta, of_gamma = grad.sum((0, 2, 3)), (grad * centred).sum((0, 2, 3))
    pixels = x.numel() // x.shape[1]
    fixed = (of_beta.view(-1, 1, 1) + centred * of_gamma.view(-1, 1, 1)) / pixels
    of_x = (grad - fixed) * (gamma * inverse).view(-1, 1, 1)
    return of_x.to(x.dtype), of_gamma.to(gamma.dtype), of_beta.to(gamma.dtype)


def _of_bias(grad: Tensor, bias: Tensor | None) -> Tensor:
    return grad.new_empty(0) if bias is None else grad.sum((0, 2, 3), dtype=bias.dtype)


def _if_there(tensor: Tensor | None, gradient: Tensor) -> Tensor | None:
    return None if tensor is None else gradient


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:5])
    ctx.rest = inputs[5:]


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    x, k_weight, k_bias, l_weight, l_bias = ctx.saved_tensors
    found = grouped_block_backward(grad, x, k_weight, k_bias, [], l_weight, l_bias, [], *ctx.rest)
    of_x, of_k_weight, of_k_bias, _, _, of_l_weight, of_l_bias, _, _ = found
    return (
        of_x, of_k_weight, _if_there(k_bias, of_k_bias), _if_there(l_weight, of_l_weight), _if_there(l_bias, of_l_bias),
        *(None for _ in ctx.rest),
    )  # fmt: skip


def _keep_with_statistics(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:9], *output[1:])
    ctx.rest, ctx.eps = inputs[9:15], inputs[15:]
    ctx.mark_non_differentiable(*output[1:])


def _backward_with_statistics(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Any, ...]:
    x, k_weight, k_bias, k_gamma, k_beta, l_weight, l_bias, l_gamma, l_beta, *statistics = ctx.saved_tensors
    (k_mean, k_var, l_mean, l_var), (k_eps, l_eps) = statistics, ctx.eps
    k_norm = [k_gamma, k_beta, k_mean, torch.rsqrt(k_var + k_eps)]
    l_norm = [] if l_weight is None else [l_gamma, l_beta, l_mean, torch.rsqrt(l_var + l_eps)]
    of_x, *found = grouped_block_backward(grad, x, k_weight, k_bias, k_norm, l_weight, l_bias, l_norm, *ctx.rest)
    arguments = (k_weight, k_bias, k_gamma, k_beta, l_weight, l_bias, l_gamma, l_beta)
    gradients = [_if_there(argument, gradient) for argument, gradient in zip(arguments, found, strict=True)]
    return of_x, *gradients, *(None for _ in (*ctx.rest, *ctx.eps))


grouped_block.register_fake(_shaped)
grouped_block.register_autograd(_backward, setup_context=_keep)
grouped_block_batch_norm.register_fake(_shaped_with_statistics)
grouped_block_batch_norm.register_autograd(_backward_with_statistics, setup_context=_keep_with_statistics)
grouped_block_backward.register_fake(_shaped_gradients)
