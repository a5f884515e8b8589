"""Export formats, one file each. Importing this package does not import torch.

:data:`FORMATS` holds every :class:`Format` by name. A format that is added here needs no edit elsewhere.
"""

from __future__ import annotations

from kswap.errors import DeployError, nearest
from kswap.runtimes.formats import executorch, onnx, openvino, torch_export
from kswap.runtimes.formats.format import Format
from kswap.runtimes.targets import find_target

FORMATS: dict[str, Format] = {
    format_.name: format_ for format_ in (onnx.FORMAT, torch_export.FORMAT, openvino.FORMAT, executorch.FORMAT)
}


def check_format(name: str) -> Format:
    """The format called ``name``. Raises :class:`DeployError` for an unknown one, and when packages are missing.

    >>> check_format("onyx")
    Traceback (most recent call last):
    kswap.errors.DeployError: unknown format 'onyx'; did you mean onnx?
    """
    if name not in FORMATS:
        hint = nearest(name, FORMATS) or f": use one of {', '.join(FORMATS)}"
        raise DeployError(f"unknown format '{name}'{hint}")
    find_target(FORMATS[name].target).check_packages()
    return FORMATS[name]
