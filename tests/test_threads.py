"""Conversions in several threads, and inference beside them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import timm
import torch
from torch import nn

import kswap


def convert(seed: int) -> kswap.Conversion:
    return kswap.convert("test_efficientnet", ch=4, device="cpu", seed=seed, input_size=(32, 32))


def test_conversions_in_threads_are_those_of_one_thread_and_inference_runs_beside_them() -> None:
    call, state = nn.Module.__call__, torch.get_rng_state()
    other = timm.create_model("test_resnet").eval()
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        expected = other(x)
    done, wrong = threading.Event(), []

    def infer() -> None:
        with torch.no_grad():
            while not done.is_set():
                try:
                    if not torch.equal(other(x), expected):
                        wrong.append("other numbers")
                except Exception as error:
                    wrong.append(repr(error))

    beside = threading.Thread(target=infer)
    torch.set_rng_state(state)
    beside.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(convert, range(4)))
            graphs = list(pool.map(lambda conversion: conversion.graph_module, found))
    finally:
        done.set()
        beside.join()
    assert not wrong
    assert nn.Module.__call__ is call
    assert torch.equal(torch.get_rng_state(), state)
    for seed, (conversion, graph) in enumerate(zip(found, graphs, strict=True)):
        model, alone = conversion.model.eval(), convert(seed).model.eval()
        with torch.no_grad():
            assert torch.equal(model(x), alone(x))
            assert torch.equal(graph(x), model(x))
