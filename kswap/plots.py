"""What all pictures that matplotlib draws have in common; it is no dependency, but in the extra ``kswap[plots]``."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kswap.errors import KswapError, ReportError
from kswap.files import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 120


def has_matplotlib() -> bool:
    """Whether pictures can be made."""
    return importlib.util.find_spec("matplotlib") is not None


def check_matplotlib(what_needs: str, error: type[KswapError], extra: str = "plots") -> None:
    """Raises ``error``, with the extra to install, where matplotlib is missing: ``"a picture of the scan needs"``."""
    if not has_matplotlib():
        raise error(f"{what_needs} matplotlib: pip install 'kswap[{extra}]'")


def check_figure(path: Path, subject: str) -> None:
    """Refuse a picture of ``subject`` that cannot be made (:class:`ReportError`), before the work starts."""
    check_matplotlib(f"a picture of {subject} needs", ReportError)
    if path.suffix.lower() != ".png":
        raise ReportError(f"the picture of {subject} is a PNG: give {path.name} the suffix .png")
    if not path.resolve().parent.is_dir():
        raise ReportError(f"{path} cannot be written: there is no folder {path.parent}")


def figure_bytes(figure: Figure, format_: str = "png", **options: Any) -> bytes:
    """The content of a file with ``figure``; ``options`` are those of ``savefig``."""
    encoded = io.BytesIO()
    figure.savefig(encoded, format=format_, **({"dpi": _DPI} | options))
    return encoded.getvalue()


def save_figure(figure: Figure, path: Path, **options: Any) -> None:
    """Write ``figure`` as a PNG, whole or not at all. Raises :class:`ReportError`."""
    write_file(path, figure_bytes(figure, **options), ReportError)
