"""A kernel of kswap's own for PyTorch on CPUs: C++ that the user's compiler builds, only when the user asks for it.

- :func:`kswap.native.operator.obstacle` makes the operator ready and returns ``None``, or says why it cannot be used.
- :func:`kswap.native.operator.grouped_block` returns the operator once it is ready.
- :mod:`kswap.native.build` compiles it and keeps it in the user's cache directory.

Nothing is compiled or loaded when these modules are imported.
"""
