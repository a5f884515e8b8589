"""Grouped blocks in Triton. Files here import triton, so nothing imports them before a kernel runs.

:mod:`kswap.nn.fused_block` decides where they run, and is what all other code imports.
"""
